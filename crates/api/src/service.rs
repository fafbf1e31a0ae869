//! One request, from its path to its answer: the tower service that a server or an embedding program mounts.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT,
};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use prometheus::proto::MetricFamily;
use roadstead_auth::{Access, Authenticator, TokenProof};
use roadstead_distribution::Registry;
use roadstead_management::Management;
use roadstead_metadata::{Actor, Credential};
use roadstead_queue::WakeUp;
use roadstead_replication::Replication;
use roadstead_runtime::{Environment, Tasks, Timestamp};
use roadstead_telemetry::{TraceParent, describe, failed};
use roadstead_webhooks::Webhooks;
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use crate::activity::{ActivityListener, ClientEvent};
use crate::body::Body;
use crate::error::{ApiError, ErrorContext, ErrorForm};
use crate::headers::{API_VERSION, API_VERSION_VALUE, REQUEST_ID};
use crate::health::{self, Health};
use crate::metrics::{Connected, Counted, RequestCounters};
use crate::options::{ApiOptions, ExternalUrl, UrlScheme};
use crate::places::{Crowded, Kind, Place, Places};
use crate::query::{Query, QueryError};
use crate::rate_limit::RateLimiter;
use crate::request_body::RequestBody;
use crate::request_log::{Entry, Pending, loggable_path};
use crate::response::{With as _, finish, json_response};
use crate::route::Route;
use crate::storage_proxy::{self, KnownStores};
use crate::{v1, v2};

/// The most characters of a request's id that is taken over from a balancer.
const REQUEST_ID_MAX: usize = 64;

/// The longest name of a host that there is, and its port.
const HOST_BYTES_MAX: usize = 260;

/// What a [`RegistryService`] is put together from.
#[derive(Clone, Debug)]
pub struct ServiceParts {
    /// What is pushed to and pulled from.
    pub registry: Registry,
    /// What is asked about copies between the locations, and told to them.
    pub replication: Replication,
    /// Who is told that images are complete.
    pub webhooks: Webhooks,
    /// What owners and operators look up and change.
    pub management: Management,
    /// Who may do it. The service that challenges name is its host name.
    pub authenticator: Authenticator,
    /// What health checks ask.
    pub health: Arc<Health>,
    /// Time and ids.
    pub environment: Environment,
    /// Where uploads that have begun come to their end although their clients have gone.
    pub tasks: Tasks,
    /// Wakes the replicator of this process, if there is one, after a push.
    pub wake_up: WakeUp,
    /// Who hears of what happens here, if anybody does.
    pub listener: Option<Arc<dyn ActivityListener>>,
    /// Limits.
    pub options: ApiOptions,
}

/// The registry as an HTTP service. Clones are the same service.
///
/// It takes requests of HTTP/1 and HTTP/2 alike, never fails, and is always ready: those beyond its
/// [`ConcurrencyLimits`](crate::ConcurrencyLimits) wait for a second and are refused. How many connections there are is bounded by
/// whoever accepts them. A request costs some kilobytes besides what it pushes, of which two pieces or one manifest are
/// in memory at a time.
///
/// A dropped future gives the request up. Uploads that have begun go on to the end of what was sent; everything else either
/// has happened or has not.
#[derive(Clone, Debug)]
pub struct RegistryService {
    inner: Arc<Inner>,
    client: Option<IpAddr>,
    scheme: UrlScheme,
    /// Counts the connection that this is the service of.
    _connected: Option<Arc<Connected>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) registry: Registry,
    pub(crate) replication: Replication,
    pub(crate) webhooks: Webhooks,
    pub(crate) management: Management,
    pub(crate) authenticator: Authenticator,
    pub(crate) health: Arc<Health>,
    pub(crate) environment: Environment,
    pub(crate) tasks: Tasks,
    pub(crate) wake_up: WakeUp,
    pub(crate) listener: Option<Arc<dyn ActivityListener>>,
    pub(crate) options: ApiOptions,
    pub(crate) known_stores: KnownStores,
    pub(crate) counters: Arc<RequestCounters>,
    rate_limiter: Option<RateLimiter>,
    places: Places,
}

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// The client's address.
    pub(crate) client: Option<IpAddr>,
    /// By which the client asked.
    pub(crate) scheme: UrlScheme,
    /// Whether others may come on the same connection at the same moment: HTTP/2.
    pub(crate) multiplexed: bool,
    /// Whether the request counts under the limits of rates.
    pub(crate) counted: bool,
    /// Who sent it, once that is known, for the log.
    pub(crate) user: OnceLock<Arc<str>>,
}

impl Head {
    pub(crate) fn query(&self) -> Result<Query<'_>, QueryError> {
        Query::parse(self.uri.query())
    }

    /// Who sends the request, for the log of actions.
    pub(crate) fn actor(&self, access: &Access) -> Actor {
        let user_agent = self.headers.get(USER_AGENT).map(HeaderValue::as_bytes);
        let credential = match access.proof() {
            None => Credential::Account,
            Some(TokenProof::AppToken(uuid)) => Credential::AppToken(uuid.clone()),
            Some(TokenProof::OauthToken(uuid)) => Credential::OauthToken(uuid.clone()),
        };
        Actor::new(access.username().map(str::to_owned))
            .with_credential(credential)
            .with_trace(TraceParent::current().map(|trace| trace.to_string()))
            .with_client(
                self.client,
                &String::from_utf8_lossy(user_agent.unwrap_or_default()),
            )
    }

    /// Whether the method is GET, or HEAD, which is answered like GET and without the body.
    pub(crate) fn is_read(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }
}

impl RegistryService {
    /// A service on these parts. Asks nobody yet.
    #[must_use]
    pub fn new(parts: ServiceParts) -> Self {
        let ServiceParts {
            registry,
            replication,
            webhooks,
            management,
            authenticator,
            health,
            environment,
            tasks,
            wake_up,
            listener,
            options,
        } = parts;
        let hostname = authenticator.options().hostname.clone();
        Self {
            inner: Arc::new(Inner {
                registry,
                replication,
                webhooks,
                management,
                authenticator,
                health,
                environment,
                tasks,
                wake_up,
                listener,
                rate_limiter: options
                    .rate_limits
                    .clone()
                    .map(|limits| RateLimiter::new(limits, hostname)),
                places: Places::new(options.concurrency),
                options,
                known_stores: KnownStores::default(),
                counters: Arc::default(),
            }),
            client: None,
            scheme: UrlScheme::Http,
            _connected: None,
        }
    }

    /// The same service for one connection, which counts as open until the last clone of the service is dropped.
    #[must_use]
    pub fn connected(&self) -> Self {
        Self {
            _connected: Some(Arc::new(self.inner.counters.connected())),
            ..self.clone()
        }
    }

    /// The same service for a client of this address. Whoever has the connection says who that is: no header is read for it here. The log
    /// of actions tells it, and it decides who is sent to a store, and whose requests are counted together.
    #[must_use]
    pub fn for_client(&self, address: IpAddr) -> Self {
        Self {
            client: Some(address),
            ..self.clone()
        }
    }

    /// The same service for clients that ask by this scheme. Default: `http`.
    #[must_use]
    pub fn over(&self, scheme: UrlScheme) -> Self {
        Self {
            scheme,
            ..self.clone()
        }
    }

    /// Everything that there is to tell Prometheus of the requests. Asks nobody.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let mut families = self.inner.counters.collect();
        families.extend(self.inner.places.collect());
        families
    }

    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let body = RequestBody::new(body, &parts.headers);
        let head = Head {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            client: self.client,
            scheme: self.scheme,
            multiplexed: parts.version == Version::HTTP_2,
            counted: false,
            user: OnceLock::new(),
        };
        // Behind the erased body, so that this is compiled once.
        Inner::answer(&self.inner, head, body).await
    }
}

impl<B> tower::Service<Request<B>> for RegistryService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

impl Inner {
    async fn answer(self: &Arc<Self>, mut head: Head, body: RequestBody) -> Response<Body> {
        let started = self.environment.now();
        let in_flight = self.counters.begin();
        let (unread, received) = (body.unread(), body.received());
        let request_id = self.request_id(&head.headers);
        let route = Route::parse(head.uri.path());
        let repository = route
            .as_ref()
            .ok()
            .and_then(|route| route.repository().cloned());
        let content_type = head.headers.get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let counted = Counted::of(route.as_ref().ok(), &head.method, content_type);
        let label = counted.route;
        let span = tracing::info_span!("http.server", request.id = %request_id, http.route = label);
        let asked_within = traceparent(&head.headers);
        if let Some(parent) = &asked_within {
            parent.begin(&span);
        }
        let trace = TraceParent::of(&span);
        if trace.is_some() {
            self.describe(&span, &head, route.as_ref().ok());
        }
        let trace = trace.or(asked_within);
        let kind = Kind::of(
            route.as_ref().ok(),
            &head.method,
            &head.headers,
            !body.is_absent(),
        );
        let entered = match self.take(&mut head, route.as_ref().ok(), started) {
            Ok(()) => self.enter(kind, head.multiplexed).await,
            Err(error) => Err(error),
        };
        let (place, answered) = match (entered, route) {
            (Ok(place), Ok(route)) => {
                let answered = Box::pin(self.dispatch(&head, body, route))
                    .instrument(span.clone())
                    .await;
                (place, answered)
            }
            (Ok(place), Err(error)) => {
                drop(body);
                (place, Err(error.into()))
            }
            (Err(error), _) => {
                drop(body);
                (None, Err(error))
            }
        };
        let place = place.filter(Place::is_for_delivery);
        let response = answered.unwrap_or_else(|error| {
            let context = ErrorContext {
                request_id: &request_id,
                retry_after: self.options.retry_after,
                form: self.error_form(&head),
            };
            span.in_scope(|| error.into_response(context))
        });
        let mut response = finish(response, &head.method);
        // A client that is refused while it sends must see why, and must not send its next request into a connection that is closed.
        if !response.headers().contains_key(CONNECTION)
            && !unread.drain(&head.headers, &*self.environment.clock).await
        {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // What somebody is told depends on who asks; only what says otherwise may be kept by a cache in between, or shared by it.
        response
            .headers_mut()
            .entry(CACHE_CONTROL)
            .or_insert(NOT_KEPT);
        if head.uri.path().starts_with("/v2") {
            response
                .headers_mut()
                .insert(API_VERSION, API_VERSION_VALUE);
        }
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        let entry = Entry {
            request_id,
            path: loggable_path(head.uri.path()),
            method: head.method,
            counted,
            repository,
            user: head.user.into_inner(),
            client: head.client,
            status: response.status(),
            started,
            received,
            trace: trace.map(|trace| trace.trace_id()),
            span,
        };
        self.counters
            .answered(&counted, entry.status, self.since(started));
        let status = i64::from(entry.status.as_u16());
        describe(&entry.span, "http.response.status_code", status);
        if entry.status.is_server_error() {
            failed(&entry.span, entry.status.as_str().to_owned());
        }
        let expected = response.body().remaining();
        let clock = Arc::clone(&self.environment.clock);
        let pending = Pending::new(entry, clock, expected, in_flight, place);
        response.map(|body| body.with_log(pending))
    }

    async fn dispatch(
        self: &Arc<Self>,
        head: &Head,
        body: RequestBody,
        route: Route,
    ) -> Result<Response<Body>, ApiError> {
        match route {
            Route::Base => v2::base::answer(self, head).await,
            Route::Token => v2::token::answer(self, head, body).await,
            Route::Catalog => v2::catalog::answer(self, head).await,
            Route::Tags { name } => v2::tags::answer(self, head, &name).await,
            Route::Manifest { name, reference } => {
                v2::manifests::answer(self, head, body, &name, &reference).await
            }
            Route::Blob { name, digest } => v2::blobs::answer(self, head, &name, &digest).await,
            Route::Uploads { name } => v2::uploads::start(self, head, body, &name).await,
            Route::Upload { name, id } => v2::uploads::answer(self, head, body, &name, id).await,
            Route::Referrers { name, digest } => {
                v2::referrers::answer(self, head, &name, &digest).await
            }
            Route::Health(route) if head.is_read() => Ok(health::answer(self, head, route).await),
            Route::DatabaseRevision if head.is_read() => health::answer_revision(self),
            Route::Locations if head.is_read() => {
                let body = health::locations::body(self.registry.locations()).await;
                Ok(Response::new(Body::whole(body)).with(
                    http::header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                ))
            }
            Route::Api => {
                let path = head.uri.path().strip_prefix(v1::PREFIX).unwrap_or_default();
                v1::answer(self, head, body, path).await
            }
            Route::InternalPing if head.is_read() => Ok(json_response(StatusCode::OK, &true)),
            Route::LegacyPing if head.is_read() => Ok(json_response(StatusCode::OK, &true)
                .with(
                    http::HeaderName::from_static("x-docker-registry-version"),
                    HeaderValue::from_static("0.6.0"),
                )
                .with(
                    http::HeaderName::from_static("x-docker-registry-standalone"),
                    HeaderValue::from_static("0"),
                )),
            Route::StorageProxy => storage_proxy::answer(self, head).await,
            Route::StorageProxyAuth => storage_proxy::authorize(self, head).await,
            Route::Health(_)
            | Route::DatabaseRevision
            | Route::Locations
            | Route::InternalPing
            | Route::LegacyPing => Err(ApiError::Method {
                allowed: "GET, HEAD".into(),
            }),
        }
    }

    /// Has everybody look again at accounts, permissions and repositories: they may have changed.
    pub(crate) fn rights_changed(&self) {
        self.authenticator.rights_changed();
        if let Some(listener) = &self.listener {
            listener.rights_changed();
        }
    }

    /// Tells what a client does for a person. Robots have nobody who looks.
    pub(crate) fn client_event(&self, username: Option<&str>, event: ClientEvent<'_>) {
        if let (Some(listener), Some(username)) = (&self.listener, username)
            && !username.contains(['+', '$'])
        {
            listener.client_event(username, &event);
        }
    }

    /// Takes a request of its address, before anything is looked up for it.
    fn take(&self, head: &mut Head, route: Option<&Route>, now: Timestamp) -> Result<(), ApiError> {
        let Some(limiter) = &self.rate_limiter else {
            return Ok(());
        };
        head.counted =
            route.is_none_or(|route| limiter.counts(route, head.uri.query(), &head.headers));
        match head.client {
            Some(address) if head.counted => limiter
                .take_from(address, now)
                .map_err(|retry_after| ApiError::RateLimited { retry_after }),
            _ => Ok(()),
        }
    }

    /// Waits for a place for a request that needs one.
    async fn enter(
        &self,
        kind: Option<Kind>,
        multiplexed: bool,
    ) -> Result<Option<Place>, ApiError> {
        let Some(kind) = kind else {
            return Ok(None);
        };
        let asking = if multiplexed {
            usize::MAX
        } else {
            self.counters.connections_open()
        };
        let entered = self.places.enter(kind, asking, &*self.environment.clock);
        match entered.await {
            Ok(place) => Ok(Some(place)),
            Err(Crowded) => Err(ApiError::Crowded),
        }
    }

    /// Keeps the name of the sender for the log, and takes a request of this account.
    pub(crate) fn note_user(&self, head: &Head, username: &str) -> Result<(), ApiError> {
        let mut first = false;
        head.user.get_or_init(|| {
            first = true;
            username.into()
        });
        match &self.rate_limiter {
            Some(limiter) if head.counted && first => limiter
                .take_of(username, self.environment.now())
                .map_err(|retry_after| ApiError::RateLimited { retry_after }),
            _ => Ok(()),
        }
    }

    /// What the log's lines leave to the trace.
    fn describe(&self, span: &Span, head: &Head, route: Option<&Route>) {
        describe(span, "otel.kind", "server");
        describe(span, "http.request.method", head.method.as_str().to_owned());
        describe(span, "url.template", route.map_or("none", Route::template));
        let asked = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let asked = asked.or(head.uri.authority().map(Authority::as_str));
        let host = self.options.external_url.as_ref().map(ExternalUrl::as_str);
        let host = host.or(asked).unwrap_or_default();
        let host = host.rsplit_once("://").map_or(host, |(_, host)| host);
        if !host.is_empty() && host.len() <= HOST_BYTES_MAX {
            describe(span, "server.address", host.to_owned());
        }
    }

    /// How long ago something began.
    fn since(&self, began: Timestamp) -> Duration {
        let took = self.environment.now().signed_duration_since(began);
        took.to_std().unwrap_or_default()
    }

    /// The form that errors of what lies at this path have.
    fn error_form(&self, head: &Head) -> ErrorForm<'_> {
        if head.uri.path().starts_with(v1::PREFIX) {
            let base = self.options.external_url.as_ref();
            ErrorForm::Problem {
                base: base.map_or("", ExternalUrl::as_str),
            }
        } else {
            ErrorForm::Distribution
        }
    }

    /// The id of a request: the one that a balancer gave it, if it is fit for a log, otherwise a new one.
    fn request_id(&self, headers: &HeaderMap) -> Arc<str> {
        let fit = |id: &&str| {
            (1..=REQUEST_ID_MAX).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        match headers
            .get(REQUEST_ID)
            .and_then(|id| id.to_str().ok())
            .filter(fit)
        {
            Some(id) => id.into(),
            None => self.environment.ids.uuid().to_string().into(),
        }
    }

    /// Does some work to its end, also when the client goes away and the server gives its request up.
    pub(crate) async fn to_the_end<T, W>(&self, work: W) -> Result<T, ApiError>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work = async move {
            // Nobody listens any more when the client has gone.
            answer.send(work.await).ok();
        };
        self.tasks.spawn(work.in_current_span());
        answered.await.map_err(|_| ApiError::CutOff)
    }
}

/// The trace that a client asks within.
fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    headers.get("traceparent")?.to_str().ok()?.parse().ok()
}

/// For answers that are out of date at once, and for all that are made for the one who asked.
const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-cache, no-store, must-revalidate");
