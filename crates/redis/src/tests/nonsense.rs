//! Servers that are no Redis.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use super::*;

/// A server that takes connections and says `answer` to everything. It lives as long as the test process.
fn server_that_says(answer: &'static [u8]) -> RedisOptions {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else {
                return;
            };
            thread::spawn(move || {
                let mut question = [0; 4096];
                while connection.read(&mut question).is_ok_and(|read| read > 0) {
                    if connection.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    RedisOptions::new("127.0.0.1", port)
}

#[tokio::test]
async fn servers_that_are_no_redis_are_told_apart_and_hold_nobody_up() {
    let environment = Environment::system();
    for nonsense in [
        &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
        b"\x00\x01\x02\x03\xff\xfe\r\n",
        b"$-5\r\n",
        b"*1000000000\r\n",
        b"$999999999999999999999\r\n",
        b":1\r\n:2\r\n:3\r\n",
        b"-ERR unknown command\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$1\r\ny\r\n",
        b"",
    ] {
        let options = server_that_says(nonsense);
        let refused = check(&options, &environment).await;
        assert!(refused.is_err(), "{nonsense:?}");
        let station = Station::start(&options);
        station
            .until("it is tried again", |station| {
                station.bus.tell(CHANNEL, "hello");
                station.bus.state().attempts > 1
            })
            .await;
        assert!(!station.ear.has_heard("hello"));
        station.stop().await;
    }
}
