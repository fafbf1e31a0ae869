//! Who gets in, as whom, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use roadstead_runtime::{ManualClock, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::world::{
    Conversation, Files, LIMIT, Served, address, ask_http2, begin_http2, send_http2,
};
use crate::stream::WRITE_STALL;
use crate::{Networks, ProxyHeader, ProxyProtocol};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 8443\r\n";
const V2: &[u8] = &[
    0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x21, 0,
    36, //
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, //
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, //
    0x30, 0x39, 0x20, 0xfb,
];

fn required() -> ProxyProtocol {
    ProxyProtocol {
        from: Networks::loopback(),
        header: ProxyHeader::Required,
    }
}

async fn connect_saying(server: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

/// The server closes the connection without a word.
async fn assert_closed(mut stream: TcpStream) {
    let mut said = Vec::new();
    // Closed with bytes unread, it may also be reset.
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut said))
        .await
        .expect("it is closed")
        .ok();
    assert_eq!(said, b"");
}

#[tokio::test]
async fn both_versions_of_http_are_negotiated_and_the_service_knows_of_the_encryption() {
    let files = Files::new();
    let served = Served::new(Some(files.load().await), None);
    let stream = files.connect(served.address, &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(ask_http2(stream).await, "127.0.0.1 true");
    for alpn in [&["http/1.1"][..], &[]] {
        let stream = files.connect(served.address, alpn).await;
        let chosen = alpn.first().map(|name| name.as_bytes());
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
        let mut conversation = Conversation::begin(stream).await;
        assert_eq!(conversation.ask("/").await.unwrap(), "127.0.0.1 true");
        assert_eq!(conversation.ask("/").await.unwrap(), "127.0.0.1 true");
    }
    let plain = Served::new(None, None);
    let stream = TcpStream::connect(plain.address).await.unwrap();
    let mut conversation = Conversation::begin(stream).await;
    assert_eq!(conversation.ask("/").await.unwrap(), "127.0.0.1 false");
}

#[tokio::test]
async fn a_header_of_the_proxy_protocol_names_the_client_before_tls_and_without() {
    let files = Files::new();
    for (header, client) in [(V1, "192.0.2.7"), (V2, "2001:db8::7")] {
        let served = Served::new(Some(files.load().await), Some(required()));
        let stream = connect_saying(served.address, header).await;
        let stream = files.shake_hands(stream, &["h2"]).await;
        assert_eq!(ask_http2(stream).await, format!("{client} true"));

        let plain = Served::new(None, Some(required()));
        let stream = connect_saying(plain.address, header).await;
        let mut conversation = Conversation::begin(stream).await;
        let told = conversation.ask("/").await.unwrap();
        assert_eq!(told, format!("{client} false"));
    }
}

#[tokio::test]
async fn without_a_header_or_from_a_stranger_a_connection_is_closed() {
    let served = Served::new(None, Some(required()));
    for begin in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"PROXY TCP4 nonsense\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PROXY TCP9 192.0.2.7 198.51.100.1 12345 8443\r\n",
    ] {
        assert_closed(connect_saying(served.address, begin).await).await;
    }
    // One that ends in the middle, and one that does not go on.
    let mut short = connect_saying(served.address, &V2[..20]).await;
    short.shutdown().await.unwrap();
    assert_closed(short).await;
    assert_closed(connect_saying(served.address, &V1[..20]).await).await;

    let others = Networks::of(|peer| peer == address("192.0.2.1"));
    for header in [ProxyHeader::Required, ProxyHeader::Optional] {
        let strangers = Served::new(
            None,
            Some(ProxyProtocol {
                from: others.clone(),
                header,
            }),
        );
        assert_closed(connect_saying(strangers.address, V1).await).await;
    }
}

#[tokio::test]
async fn where_the_header_is_optional_a_connection_without_is_what_it_is() {
    let served = Served::new(
        None,
        Some(ProxyProtocol {
            from: Networks::loopback(),
            header: ProxyHeader::Optional,
        }),
    );
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut conversation = Conversation::begin(stream).await;
    assert_eq!(conversation.ask("/").await.unwrap(), "127.0.0.1 false");
    let stream = connect_saying(served.address, V1).await;
    let mut conversation = Conversation::begin(stream).await;
    assert_eq!(conversation.ask("/").await.unwrap(), "192.0.2.7 false");
}

#[tokio::test]
async fn clients_that_stand_still_keep_nobody_from_a_handshake_for_long() {
    let files = Files::new();
    let served = Served::new(Some(files.load().await), None);
    // More than may shake hands at once. Who says nothing takes nobody's turn.
    let mut still = Vec::new();
    for _ in 0..30 {
        still.push(TcpStream::connect(served.address).await.unwrap());
    }
    let stream = files.connect(served.address, &[]).await;
    let told = Conversation::begin(stream).await.ask("/").await.unwrap();
    assert_eq!(told, "127.0.0.1 true");
    for _ in 0..30 {
        still.push(connect_saying(served.address, b"\x16").await);
    }
    let asked = async {
        // While all turns are taken, others may wait too long, too.
        loop {
            let stream = TcpStream::connect(served.address).await.unwrap();
            let shaken = tokio::time::timeout(LIMIT, files.try_shake_hands(stream, &[])).await;
            if let Ok(Ok(stream)) = shaken
                && let Ok(told) = Conversation::begin(stream).await.ask("/").await
            {
                return told;
            }
        }
    };
    let told = tokio::time::timeout(LIMIT, asked).await.unwrap();
    assert_eq!(told, "127.0.0.1 true");
    for stream in still {
        assert_closed(stream).await;
    }
}

#[tokio::test]
async fn a_request_in_flight_is_finished_after_the_shutdown_and_its_connection_closed_behind_it() {
    let files = Files::new();
    let served = Served::new(Some(files.load().await), None);
    let stream = files.connect(served.address, &["http/1.1"]).await;
    let mut resting = Conversation::begin(stream).await;
    resting.ask("/").await.unwrap();
    let stream = files.connect(served.address, &["http/1.1"]).await;
    let mut busy = Conversation::begin(stream).await;
    let asked = async { busy.ask("/slow").await };
    let stopped = async {
        served.slow.begun.notified().await;
        served.tasks.shutdown().request();
        // What rests is closed at once, and nobody new is let in.
        while resting.ask("/").await.is_ok() {}
        while TcpStream::connect(served.address).await.is_ok() {}
        served.slow.released.notify_one();
    };
    let (answer, ()) = tokio::join!(asked, stopped);
    assert_eq!(answer.unwrap(), "127.0.0.1 true");
    assert!(busy.ask("/").await.is_err());
    assert!(served.tasks.stop(LIMIT).await);
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_cut_off() {
    let served = Served::with_drain(Duration::from_millis(100));
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut busy = Conversation::begin(stream).await;
    let stopped = async {
        served.slow.begun.notified().await;
        assert!(served.tasks.stop(LIMIT).await);
    };
    let (answer, ()) = tokio::join!(busy.ask("/slow"), stopped);
    assert!(answer.is_err());
}

#[tokio::test]
async fn a_client_of_http2_that_takes_nothing_of_an_answer_is_cut_off() {
    let time = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let served = Served::by(Arc::clone(&time) as _);
    // It answers pings, and lets the server send nothing, or the beginning only.
    for window in [0, 1] {
        let stream = TcpStream::connect(served.address).await.unwrap();
        let mut sender = begin_http2(stream, window).await;
        let answer = send_http2(&mut sender).await;
        let cut_off = async {
            while !sender.is_closed() {
                time.advance(WRITE_STALL / 4);
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, cut_off)
            .await
            .expect("it is cut off");
        assert!(answer.into_body().collect().await.is_err());
    }
}

#[tokio::test]
async fn a_client_of_http2_that_takes_little_at_a_time_gets_all_of_an_answer() {
    let time = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let served = Served::by(Arc::clone(&time) as _);
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut sender = begin_http2(stream, 1).await;
    let mut body = send_http2(&mut sender).await.into_body();
    let mut told = Vec::new();
    while let Some(frame) = body.frame().await {
        told.extend(frame.unwrap().into_data().unwrap());
        // For all of it that is much longer than for a client that takes nothing.
        time.advance(WRITE_STALL / 4);
        tokio::task::yield_now().await;
    }
    assert_eq!(told, b"127.0.0.1 false");
}
