//! The ports of a registry: which there are, as whom clients pass them, and what is answered at each.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, LOCATION, STRICT_TRANSPORT_SECURITY};
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode, Version};
use roadstead_api::{Body, RegistryService, Route, UrlScheme};
use roadstead_config as config;
use roadstead_config::{Balancers, Config, Hosting};
use roadstead_listener::{
    Certificates, Door, Forwarding, IpVersion, Limits, Networks, Peer, Port, ProxyHeader,
    ProxyProtocol, TlsFiles, TlsOptions, TlsVersion, serve,
};
use roadstead_runtime::{Clock, Tasks};

use crate::error::StartError;

/// Connections at once, over all ports. Each holds a few kilobytes while it is idle and at most some megabytes while it carries a blob.
const CONNECTIONS_MAX: usize = 8192;

/// TLS handshakes at once, over all ports: half a second's work of one processor.
const HANDSHAKES_MAX: usize = 512;

/// The ports that Quay's container has, where nobody names others.
const TLS_PORT: u16 = 8443;
const TLS_PROXY_PORT: u16 = 7443;

/// Quay's: two years.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000; preload");

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) tls_proxy: Option<SocketAddr>,
}

/// The ports, once they are listened on. Nothing is accepted yet.
#[derive(Debug)]
pub(crate) struct Ports {
    http: Port,
    tls: Option<Port>,
    tls_proxy: Option<Port>,
}

impl Ports {
    /// Listens: for HTTP always, and where there is a certificate for HTTPS, with the PROXY protocol where that is asked for.
    pub(crate) fn bind(hosting: &Hosting, addresses: Addresses) -> Result<Self, StartError> {
        let version = match hosting.ip_version {
            None => IpVersion::AsWritten,
            Some(config::IpVersion::V4) => IpVersion::V4,
            Some(config::IpVersion::V6) => IpVersion::V6,
            Some(config::IpVersion::Both) => IpVersion::Both,
        };
        let bind = |address: SocketAddr, option: &'static str| {
            Port::bind(address, version).map_err(|source| StartError::Listen {
                address,
                option,
                source,
            })
        };
        let beside = |port| SocketAddr::new(addresses.http.ip(), port);
        let http = bind(addresses.http, "--listen")?;
        if hosting.tls.is_none() {
            return Ok(Self {
                http,
                tls: None,
                tls_proxy: None,
            });
        }
        let tls = bind(
            addresses.tls.unwrap_or_else(|| beside(TLS_PORT)),
            "--listen-tls",
        )?;
        let default = hosting
            .balancers
            .proxy_protocol
            .then(|| beside(TLS_PROXY_PORT));
        let tls_proxy = addresses
            .tls_proxy
            .or(default)
            .map(|address| bind(address, "--listen-tls-proxy"))
            .transpose()?;
        Ok(Self {
            http,
            tls: Some(tls),
            tls_proxy,
        })
    }

    /// Where they are, with the ports that were given.
    pub(crate) fn addresses(&self) -> Addresses {
        Addresses {
            http: self.http.address(),
            tls: self.tls.as_ref().map(Port::address),
            tls_proxy: self.tls_proxy.as_ref().map(Port::address),
        }
    }

    /// Serves until the shutdown: the registry at every port, but where there is HTTPS, plain HTTP only sends there. Probes are answered
    /// everywhere.
    pub(crate) fn serve(
        self,
        config: &Config,
        certificates: Option<&Certificates>,
        service: &RegistryService,
        clock: &Arc<dyn Clock>,
        tasks: &Tasks,
    ) {
        let hosting = &config.hosting;
        let limits = Limits::new(CONNECTIONS_MAX, HANDSHAKES_MAX, config.limits.shutdown);
        let proxy = |header| ProxyProtocol {
            from: named(&hosting.balancers, Networks::all),
            header,
        };
        let registry = FrontDoor {
            service: service.clone(),
            forwarding: Arc::new(forwarding(hosting)),
            elsewhere: None,
        };
        let elsewhere = hosting
            .server_hostname
            .as_ref()
            .filter(|_| self.tls.is_some());
        let http = FrontDoor {
            elsewhere: elsewhere.map(|host| format!("https://{host}").into()),
            ..registry.clone()
        };
        // As Quay's: the port that redirects takes the PROXY protocol. Probes come without, and nothing there depends on who asks.
        let http_proxy = (self.tls.is_some() && hosting.balancers.proxy_protocol)
            .then(|| proxy(ProxyHeader::Optional));
        let doors = [
            Some((
                Door {
                    proxy: http_proxy,
                    ..Door::plain(self.http)
                },
                http,
            )),
            self.tls.map(|port| {
                let tls = certificates.cloned();
                (
                    Door {
                        tls,
                        ..Door::plain(port)
                    },
                    registry.clone(),
                )
            }),
            self.tls_proxy.map(|port| {
                let door = Door {
                    port,
                    tls: certificates.cloned(),
                    proxy: Some(proxy(ProxyHeader::Required)),
                };
                (door, registry.clone())
            }),
        ];
        for (door, answers) in doors.into_iter().flatten() {
            let service_for = move |peer| Passage {
                door: answers.connected(),
                peer,
            };
            let (clock, limits) = (Arc::clone(clock), limits.clone());
            tasks.spawn(serve(door, service_for, limits, clock, tasks.clone()));
        }
    }
}

/// Reads the certificate, where there is one.
pub(crate) async fn load_certificates(
    hosting: &Hosting,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Certificates>, StartError> {
    let Some(tls) = &hosting.tls else {
        return Ok(None);
    };
    let options = TlsOptions {
        files: TlsFiles {
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
        },
        versions: tls
            .versions
            .iter()
            .map(|version| match version {
                config::TlsVersion::V12 => TlsVersion::V12,
                config::TlsVersion::V13 => TlsVersion::V13,
            })
            .collect(),
        hostname: hosting.server_hostname.clone(),
    };
    Ok(Some(Certificates::load(options, Arc::clone(clock)).await?))
}

/// What balancers are believed.
fn forwarding(hosting: &Hosting) -> Forwarding {
    let balancers = &hosting.balancers;
    Forwarding {
        trusted: named(balancers, Networks::loopback),
        hops_max: balancers.hops.map_or(usize::MAX, |hops| {
            usize::try_from(hops).unwrap_or(usize::MAX)
        }),
        tls_before: balancers.tls_ends_before
            && hosting.preferred_url_scheme == config::UrlScheme::Https,
    }
}

/// The balancers' networks, or where none are named the default.
fn named(balancers: &Balancers, default: impl FnOnce() -> Networks) -> Networks {
    match balancers.trusted.clone() {
        None => default(),
        Some(networks) => {
            Networks::of(move |address| networks.iter().any(|network| network.contains(address)))
        }
    }
}

/// What is answered at a port.
#[derive(Clone, Debug)]
struct FrontDoor {
    service: RegistryService,
    forwarding: Arc<Forwarding>,
    /// Scheme and host to which everything but probes is sent.
    elsewhere: Option<Arc<str>>,
}

impl FrontDoor {
    /// The same for one connection, which is counted.
    fn connected(&self) -> Self {
        Self {
            service: self.service.connected(),
            ..self.clone()
        }
    }
}

/// The service of one connection.
#[derive(Clone, Debug)]
struct Passage {
    door: FrontDoor,
    peer: Peer,
}

impl Service<Request<Incoming>> for Passage {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

impl Passage {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let Self { door, peer } = self;
        if let Some(base) = &door.elsewhere
            && !is_probe(request.uri().path())
        {
            return Ok(redirect(base, &request));
        }
        let client = door.forwarding.client(peer, request.headers());
        let scheme = if client.https {
            UrlScheme::Https
        } else {
            UrlScheme::Http
        };
        let service = door.service.for_client(client.address).over(scheme);
        let mut response = service.answer(request).await;
        if peer.tls {
            response
                .headers_mut()
                .insert(STRICT_TRANSPORT_SECURITY, HSTS);
        }
        Ok(response)
    }
}

/// What balancers and supervisors ask: a redirect would look like health to some.
fn is_probe(path: &str) -> bool {
    matches!(
        Route::parse(path),
        Ok(Route::Health(_)
            | Route::DatabaseRevision
            | Route::Locations
            | Route::InternalPing
            | Route::LegacyPing)
    )
}

/// To the same path by HTTPS, for good. Whoever sends something is not to send it as a GET there.
fn redirect<B>(base: &str, request: &Request<B>) -> Response<Body> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let mut response = Response::new(Body::empty());
    let Ok(location) = HeaderValue::try_from(format!("{base}{path}")) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    response.headers_mut().insert(LOCATION, location);
    *response.status_mut() = if matches!(*request.method(), Method::GET | Method::HEAD) {
        StatusCode::MOVED_PERMANENTLY
    } else {
        if request.version() < Version::HTTP_2 {
            // The body is not read.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        StatusCode::PERMANENT_REDIRECT
    };
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_probes_is_sent_to_https_by_a_redirect_that_keeps_the_method() {
        for (method, path, status) in [
            ("GET", "/v2/?n=1&last=a%2Fb", 301),
            ("HEAD", "/", 301),
            ("POST", "/v2/a/b/blobs/uploads/", 308),
            ("DELETE", "/v2/a/b/manifests/v1", 308),
            ("GET", "//evil.example/", 301),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(())
                .unwrap();
            let response = redirect("https://registry.example.org:8443", &request);
            assert_eq!(response.status().as_u16(), status, "{method} {path}");
            let location = format!("https://registry.example.org:8443{path}");
            assert_eq!(response.headers()[LOCATION], location);
        }
        for path in [
            "/health",
            "/health/instance",
            "/health/endtoend",
            "/health/warning",
            "/health/locations",
            "/health/ready/pull",
            "/health/ready/push",
            "/health/dbrevision",
            "/status",
            "/_internal_ping",
            "/v1/_ping",
        ] {
            assert!(is_probe(path), "{path}");
        }
        for path in [
            "/",
            "/v2/",
            "/healthy",
            "/v1/",
            "/api/v1/user/",
            "/statuses",
            "//health",
        ] {
            assert!(!is_probe(path), "{path}");
        }
    }
}
