//! What time it is where a store answers.

use std::time::Duration;

use http::header::DATE;
use reqwest::Method;
use roadstead_runtime::Timestamp;

use super::HttpClient;

impl HttpClient {
    /// The time that the server at `url` puts into its answer, to the second, whatever else it answers. `None`: it does not answer within `patience`, or
    /// says none.
    pub async fn time_at(&self, url: &str, patience: Duration) -> Option<Timestamp> {
        let asking = self.untouched.request(Method::HEAD, url).send();
        let answer = tokio::time::timeout(patience, asking).await.ok()?.ok()?;
        let text = answer.headers().get(DATE)?.to_str().ok()?;
        let time = chrono::DateTime::parse_from_rfc2822(text).ok()?;
        Some(time.to_utc())
    }
}
