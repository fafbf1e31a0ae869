//! What stands between a location and its store: a server that answers as a test wishes.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

/// Answers whatever comes, until the test's runtime ends.
pub(crate) async fn serve<A, F>(listener: TcpListener, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let answer = answer.clone();
        tokio::task::spawn(async move {
            let service = service_fn(|request| {
                let answered = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answered.await) }
            });
            Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(connection), service)
                .await
                .ok();
        });
    }
}
