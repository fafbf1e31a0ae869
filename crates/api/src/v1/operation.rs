//! What an operation of the API is: its address, what it demands, what it takes and gives, and the function that does it. Routing, rights and the
//! OpenAPI document are all made from these values, so that they cannot differ.

use std::borrow::Cow;
use std::pin::Pin;

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::body::Body;
use crate::error::ApiError;
use crate::service::Inner;
use crate::v1::call::Call;

/// What becomes of a call.
pub(crate) type Answering<'a> =
    Pin<Box<dyn Future<Output = Result<Response<Body>, ApiError>> + Send + 'a>>;

/// Does an operation.
pub(crate) type Handler = for<'a> fn(&'a Inner, Call<'a>) -> Answering<'a>;

/// Makes a schema, and those that it refers to.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A document whose members are told in words elsewhere: a report for people and scripts, made by a crate that makes no schemas.
pub(crate) struct Object;

impl JsonSchema for Object {
    fn schema_name() -> Cow<'static, str> {
        "Object".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "object" })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Which parameter of the path names what the operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// The registry, or the caller's own account.
    Registry,
    /// The namespace that this parameter names.
    Namespace(&'static str),
    /// The repository that this parameter names.
    Repository(&'static str),
    /// What the document names: the handler has the need looked at when it has read it. An account it takes in any case.
    Document,
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryParameter {
    pub(crate) name: &'static str,
    pub(crate) kind: QueryKind,
    pub(crate) summary: &'static str,
}

/// What a parameter of the query may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QueryKind {
    /// Any text, but a bounded one.
    Text,
    /// `true` or `false`; also as Python writes them, and as 1 and 0.
    Flag,
    /// A number of entries from 1 to this; the default is the first.
    Entries {
        /// Unless the caller says otherwise.
        default: u32,
        /// The most.
        most: u32,
    },
    /// A number from 1 on: of a page.
    Page,
}

/// An operation. Made with [`Operation::new`] and the methods that follow it.
pub(crate) struct Operation {
    pub(crate) method: Method,
    /// Below `/api/v1`, with parameters in braces. `{repository}` stands for two or more segments.
    pub(crate) path: &'static str,
    /// Unique, and Quay's where the operation is.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) need: Need,
    pub(crate) about: About,
    pub(crate) query: &'static [QueryParameter],
    pub(crate) takes: Option<SchemaOf>,
    pub(crate) status: StatusCode,
    pub(crate) gives: Option<SchemaOf>,
    /// Whether it is done although the registry only reads: what it changes is no content and no rights.
    pub(crate) while_read_only: bool,
    /// Whether accounts, permissions or repositories may have changed with it, so that everybody has to look again who remembers them.
    pub(crate) changes_rights: bool,
    pub(crate) handler: Handler,
}

impl Operation {
    /// An operation that whoever meets `need` may ask for. It is about the registry or the caller, takes no document and gives none.
    pub(crate) const fn new(
        method: Method,
        path: &'static str,
        id: &'static str,
        need: Need,
        handler: Handler,
    ) -> Self {
        Self {
            method,
            path,
            id,
            summary: "",
            need,
            about: About::Registry,
            query: &[],
            takes: None,
            status: StatusCode::NO_CONTENT,
            gives: None,
            while_read_only: false,
            changes_rights: true,
            handler,
        }
    }

    /// In one sentence.
    pub(crate) const fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// What it is about.
    pub(crate) const fn about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    /// The parameters of the query.
    pub(crate) const fn query(mut self, query: &'static [QueryParameter]) -> Self {
        self.query = query;
        self
    }

    /// The document that it takes.
    pub(crate) fn takes<T: JsonSchema>(mut self) -> Self {
        self.takes = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// The document that it gives, and the status.
    pub(crate) fn gives<T: JsonSchema>(mut self, status: StatusCode) -> Self {
        self.status = status;
        self.gives = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// Also in a registry that only reads.
    pub(crate) const fn while_read_only(mut self) -> Self {
        self.while_read_only = true;
        self
    }

    /// Nobody has to look again at accounts, permissions and repositories for it.
    pub(crate) const fn changes_no_rights(mut self) -> Self {
        self.changes_rights = false;
        self
    }

    /// The parameters of the path, in its order.
    pub(crate) fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Operation")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
