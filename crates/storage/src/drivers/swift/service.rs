//! A container as `OpenDAL` wants a store to look: whatever is said of objects one at a time goes through its operator, like with all others.

use std::sync::Arc;

use opendal::raw::oio::{self, Entry, PageContext, ReadStreamDyn};
use opendal::raw::{
    OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite,
    RpCreateDir, RpPresign, RpRead, RpRename, RpStat, Service, ServiceInfo, parse_into_metadata,
};
use opendal::{
    Buffer, Builder, BytesRange, Capability, Error, ErrorKind, Metadata, MetadataBuilder,
    OperationContext, Operator, Result,
};

use super::Container;

pub(super) fn operator(container: Arc<Container>) -> Result<Operator> {
    Operator::new(Made(Some(Swift(container))))
}

/// Hands a service that is made already to the operator, which insists on making it.
#[derive(Default)]
struct Made(Option<Swift>);

impl Builder for Made {
    type Config = ();

    fn build(self) -> Result<impl Service> {
        self.0
            .ok_or_else(|| Error::new(ErrorKind::ConfigInvalid, "no container"))
    }
}

#[derive(Clone, Debug)]
struct Swift(Arc<Container>);

impl Service for Swift {
    type Reader = oio::StreamReader<Reader>;
    type Writer = oio::OneShotWriter<Writer>;
    type Lister = oio::PageLister<Lister>;
    type Deleter = oio::OneShotDeleter<Self>;
    type Copier = oio::OneShotCopier;
    type Composer = ();

    fn info(&self) -> ServiceInfo {
        ServiceInfo::new("swift", "/", self.0.name())
    }

    fn capability(&self) -> Capability {
        Capability {
            stat: true,
            read: true,
            write: true,
            write_can_empty: true,
            delete: true,
            copy: true,
            list: true,
            list_with_recursive: true,
            list_with_start_after: true,
            shared: true,
            ..Capability::default()
        }
    }

    async fn create_dir(
        &self,
        _: &OperationContext,
        _: &str,
        _: OpCreateDir,
    ) -> Result<RpCreateDir> {
        Err(unsupported())
    }

    async fn stat(&self, _: &OperationContext, path: &str, _: OpStat) -> Result<RpStat> {
        match self.0.head(path, false).await? {
            Some(held) => Ok(RpStat::new(parse_into_metadata(path, &held.headers)?)),
            None => Err(Error::new(ErrorKind::NotFound, "there is no such object")),
        }
    }

    fn read(&self, _: &OperationContext, path: &str, _: OpRead) -> Result<Self::Reader> {
        Ok(oio::StreamReader::new(Reader {
            container: Arc::clone(&self.0),
            path: path.to_owned(),
        }))
    }

    fn write(&self, _: &OperationContext, path: &str, _: OpWrite) -> Result<Self::Writer> {
        Ok(oio::OneShotWriter::new(Writer {
            container: Arc::clone(&self.0),
            path: path.to_owned(),
        }))
    }

    fn delete(&self, _: &OperationContext) -> Result<Self::Deleter> {
        Ok(oio::OneShotDeleter::new(self.clone()))
    }

    fn list(&self, _: &OperationContext, path: &str, args: OpList) -> Result<Self::Lister> {
        if !args.recursive() {
            return Err(unsupported());
        }
        let path = path.trim_start_matches('/').to_owned();
        Ok(oio::PageLister::new(Lister {
            start: args.start_after().map(|start| self.0.name_of(start)),
            container: Arc::clone(&self.0),
            path,
        }))
    }

    fn copy(
        &self,
        _: &OperationContext,
        from: &str,
        to: &str,
        args: OpCopy,
    ) -> Result<Self::Copier> {
        let container = Arc::clone(&self.0);
        let (from, to) = (from.to_owned(), to.to_owned());
        Ok(oio::OneShotCopier::new(async move {
            container.copy(&from, &to).await?;
            let size = match args.source_content_length_hint() {
                Some(size) => Some(size),
                None => container
                    .head(&to, true)
                    .await?
                    .and_then(|held| held.size()),
            };
            Ok(MetadataBuilder::file(size.unwrap_or_default()).build())
        }))
    }

    async fn rename(
        &self,
        _: &OperationContext,
        _: &str,
        _: &str,
        _: OpRename,
    ) -> Result<RpRename> {
        Err(unsupported())
    }

    async fn presign(&self, _: &OperationContext, _: &str, _: OpPresign) -> Result<RpPresign> {
        Err(unsupported())
    }
}

impl oio::OneShotDelete for Swift {
    async fn delete_once(&self, path: String, _: OpDelete) -> Result<()> {
        self.0.delete(&path).await
    }
}

struct Reader {
    container: Arc<Container>,
    path: String,
}

impl oio::StreamRead for Reader {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn ReadStreamDyn>)> {
        let range = (!range.is_full()).then(|| range.to_header());
        let answer = self.container.read(&self.path, range).await?;
        let metadata = parse_into_metadata(&self.path, answer.headers())?;
        Ok((RpRead::new(metadata), Box::new(answer.into_body())))
    }
}

struct Writer {
    container: Arc<Container>,
    path: String,
}

impl oio::OneShotWrite for Writer {
    async fn write_once(&self, bytes: Buffer) -> Result<Metadata> {
        self.container.write(&self.path, bytes).await?;
        Ok(MetadataBuilder::unknown().build())
    }
}

struct Lister {
    container: Arc<Container>,
    path: String,
    /// With the prefix.
    start: Option<String>,
}

impl oio::PageList for Lister {
    async fn next_page(&self, context: &mut PageContext) -> Result<()> {
        let start = self.start.as_deref().unwrap_or_default();
        let marker = match context.token.as_str() {
            "" => start,
            token => token,
        };
        let page = self.container.list(&self.path, marker).await?;
        // A page that is not full may be the store's own limit, so only one without names is the last.
        context.done = page.is_empty();
        if let Some(last) = page.last() {
            context.token.clone_from(&last.name);
        }
        for entry in page {
            let Some(path) = self.container.path_of(&entry.name) else {
                continue;
            };
            // Somebody's idea of a folder is an object of no use here.
            if path.is_empty() || path.ends_with('/') {
                continue;
            }
            let mut metadata = MetadataBuilder::file(entry.bytes);
            if let Some(mut modified) = entry.last_modified {
                // In universal time, without saying so.
                if !modified.ends_with('Z') {
                    modified.push('Z');
                }
                metadata.last_modified(modified.parse()?);
            }
            let entry = Entry::with(path.to_owned(), metadata.build());
            context.entries.push_back(entry);
        }
        Ok(())
    }
}

fn unsupported() -> Error {
    Error::new(ErrorKind::Unsupported, "not asked of a container")
}
