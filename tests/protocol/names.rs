//! Names in paths: the longest, the wrong, and those that try to get out.

use roadstead_testkit::Universe;

use crate::call::{call, push_blob};
use crate::wire::{bearer, send_bytes};

#[tokio::test]
async fn a_repository_name_may_have_255_characters_and_not_256() {
    let universe = Universe::start().await;
    let client = universe.client();
    let longest = format!("team/{}", "a".repeat(250));
    assert_eq!(longest.len(), 255);
    let digest = push_blob(&client, &longest, b"x").await;
    call("GET", format!("/v2/{longest}/blobs/{digest}"))
        .send(&client)
        .await
        .expect(200);
    for path in ["blobs/uploads/", "tags/list"] {
        let method = if path == "tags/list" { "GET" } else { "POST" };
        call(method, format!("/v2/{longest}a/{path}"))
            .send(&client)
            .await
            .refused(400, "NAME_INVALID");
    }
    universe.finish().await;
}

#[tokio::test]
async fn names_may_be_nested_and_of_one_part() {
    let universe = Universe::start().await;
    let client = universe.client();
    for name in [
        "busybox",
        "a/b",
        "a/b/c",
        "a/b/c/d/e/f/g/h",
        "a/b.c_d__e-f--g",
        "blobs/uploads",
        "a/manifests/b",
        "v2/v2",
    ] {
        let digest = push_blob(&client, name, name.as_bytes()).await;
        let reply = call("GET", format!("/v2/{name}/blobs/{digest}"))
            .send(&client)
            .await
            .expect(200);
        assert_eq!(reply.body, name);
    }
    universe.finish().await;
}

#[tokio::test]
async fn names_that_are_none_are_refused() {
    let universe = Universe::start().await;
    let client = universe.client();
    push_blob(&client, "team/app", b"x").await;
    for name in [
        "Team/app",
        "team/App",
        "team/-app",
        "team/app-",
        "team/a..b",
        "team/a___b",
        "team/a._b",
        "_team/app",
        "team//app",
        "team/ap%20p",
        "team/%C3%A9",
        "team/app%0A",
        "team/a%2Fb%2F",
        "-",
        ".",
        "team/.",
    ] {
        let reply = call("POST", format!("/v2/{name}/blobs/uploads/"))
            .send(&client)
            .await;
        assert!(
            reply.status == 400 || reply.status == 404,
            "{name}: {reply:?}"
        );
        assert!(
            reply.json()["errors"][0]["code"].is_string(),
            "{name}: {reply:?}"
        );
    }
    for tag in [".x", "-x", "a%20b", "%C3%A9", "a%00", &"x".repeat(129)] {
        let reply = call("PUT", format!("/v2/team/app/manifests/{tag}"))
            .header("content-type", "application/vnd.oci.image.index.v1+json")
            .body(r#"{"schemaVersion":2,"manifests":[]}"#)
            .send(&client)
            .await;
        assert!(
            reply.status == 400 || reply.status == 404,
            "{tag}: {reply:?}"
        );
    }
    universe.finish().await;
}

/// Things that stand for another place, for the end of a string, or for no text at all.
const HOSTILE: [&[u8]; 16] = [
    b"..",
    b"%2e%2e",
    b"%2E%2e",
    b".%2e",
    b"%252e%252e",
    b"../../../etc",
    b"..%2f..%2fetc",
    b"..%5c",
    b"%00",
    b"a%00b",
    b"%ff",
    b"%c0%ae",
    b"\xff\xfe",
    b"\xc3\xa9",
    b"%",
    b"%zz",
];

#[tokio::test]
async fn no_part_of_a_path_leads_anywhere_else() {
    let universe = Universe::start().await;
    let (client, password) = (universe.client(), universe.password());
    let digest = push_blob(&client, "team/app", b"x").await;
    let token = bearer(&client, &password, "team/app").await;
    let before = [
        universe.files("usstorage").objects(),
        universe.files("eustorage").objects(),
    ];
    let templates = [
        ("GET", "/v2/@/tags/list".to_owned()),
        ("POST", "/v2/@/blobs/uploads/".to_owned()),
        ("POST", "/v2/team/@/blobs/uploads/".to_owned()),
        (
            "POST",
            format!("/v2/team/app/blobs/uploads/?mount={digest}&from=@"),
        ),
        ("POST", "/v2/team/app/blobs/uploads/?digest=@".to_owned()),
        ("GET", "/v2/team/app/blobs/@".to_owned()),
        ("GET", "/v2/team/app/blobs/sha256:@".to_owned()),
        ("GET", "/v2/team/app/blobs/uploads/@".to_owned()),
        ("DELETE", "/v2/team/app/blobs/uploads/@".to_owned()),
        ("GET", "/v2/team/app/manifests/@".to_owned()),
        ("PUT", "/v2/team/app/manifests/@".to_owned()),
        ("GET", "/v2/team/app/referrers/@".to_owned()),
        ("GET", "/v2/team/app/tags/list?last=@".to_owned()),
        ("GET", "/v2/team/app/tags/list?n=@".to_owned()),
        ("GET", "/@".to_owned()),
        ("GET", "/v2/@".to_owned()),
        (
            "GET",
            "/v2/auth?service=@&scope=repository:@:pull".to_owned(),
        ),
        ("GET", "/health/@".to_owned()),
    ];
    for (method, template) in &templates {
        for hostile in HOSTILE {
            let (start, end) = template.split_once('@').unwrap();
            let mut request = format!("{method} {start}").into_bytes();
            request.extend_from_slice(hostile);
            // What stands for the same thing a second time is left as it is.
            request.extend_from_slice(end.replace('@', "x").as_bytes());
            let rest = format!(
                " HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            request.extend_from_slice(rest.as_bytes());
            let answer = send_bytes(universe.address(0), &request).await;
            let shown = String::from_utf8_lossy(&request).into_owned();
            let status = answer
                .status
                .unwrap_or_else(|| panic!("no answer to {shown}"));
            assert!(status < 500, "{shown}: {}", answer.text);
            assert!(!answer.text.contains("root:"), "{shown}: {}", answer.text);
        }
    }
    client.ping().await.unwrap();
    let after = [
        universe.files("usstorage").objects(),
        universe.files("eustorage").objects(),
    ];
    assert!(before[0].keys().all(|digest| after[0].contains_key(digest)));
    assert_eq!(before[0].len(), after[0].len());
    let mut universe = universe;
    universe.expect_leftovers();
    universe.finish().await;
}
