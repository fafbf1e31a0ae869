//! Where traces and metrics are sent.

use super::*;

const DYNATRACE: &str = "FEATURE_OTEL_TRACING: true
OTEL_CONFIG: {service_name: registry, dt_api_url: 'https://dt.example/api/v2/otlp', dt_api_token: s3cret}";

fn export(fixture: &Fixture) -> Export {
    let telemetry = fixture.loaded().config.telemetry;
    telemetry.export.expect("it is exported")
}

#[test]
fn quays_keys_name_the_collector_its_token_and_the_service() {
    let export = export(&small_and(DYNATRACE));
    assert_eq!(export.endpoint, "https://dt.example/api/v2/otlp");
    assert_eq!(export.service_name, "registry");
    let [(name, value)] = export.headers.as_slice() else {
        panic!("{export:?}");
    };
    assert_eq!(
        (name.as_str(), value.expose().as_str()),
        ("Authorization", "Api-Token s3cret")
    );
    assert!(!format!("{export:?}").contains("s3cret"));
    let one_in_a_thousand = Sampling {
        ratio: 0.001,
        parent_based: true,
    };
    assert_eq!(export.sampling, one_in_a_thousand);
}

#[test]
fn the_standard_variables_switch_it_on_and_go_before_quays_keys() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=one, x-key=a=b"),
        ("OTEL_SERVICE_NAME", "roadstead"),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
    ];
    for text in ["", DYNATRACE] {
        let export = export(&small_and(text).with(&variables));
        assert_eq!(export.endpoint, "http://collector:4318");
        assert_eq!(export.service_name, "roadstead");
        let headers: Vec<_> = export
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose().as_str()))
            .collect();
        assert_eq!(headers, [("x-tenant", "one"), ("x-key", "a=b")]);
        let quarter = Sampling {
            ratio: 0.25,
            parent_based: false,
        };
        assert_eq!(export.sampling, quarter);
    }
    let off = small_and("FEATURE_OTEL_TRACING: false").with(&variables);
    assert_eq!(off.loaded().config.telemetry.export, None);
}

#[test]
fn a_password_in_the_address_of_a_collector_is_refused_and_not_shown() {
    let by_variable = |address| small_and("").with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", address)]);
    for (fixture, problem) in [
        (
            by_variable("https://me:hunter2@collector:4318"),
            "a user or a password in it",
        ),
        (
            by_variable("me:hunter2@collector:4318"),
            "not an address of a collector",
        ),
        (
            small_and(
                "FEATURE_OTEL_TRACING: true\nOTEL_CONFIG: {dt_api_url: 'https://me:hunter2@dt.example'}",
            ),
            "a user or a password in it",
        ),
    ] {
        let said = fixture.refused().join("\n");
        assert!(said.contains(problem), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn everything_that_is_wrong_about_a_collector_is_said_at_once() {
    assert_refused(
        &small_and("FEATURE_OTEL_TRACING: true"),
        &["FEATURE_OTEL_TRACING: it is on, and nothing says where traces go"],
    );
    let wrong = small_and("OTEL_CONFIG: [a]").with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "lonely"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
    ]);
    let said = wrong.refused().join("\n");
    for (variable, problem) in [
        ("OTEL_CONFIG", "a list does not fit here"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "not an address of a collector",
        ),
        ("OTEL_EXPORTER_OTLP_HEADERS", "has no value"),
        ("OTEL_TRACES_SAMPLER", "unknown sampler"),
        ("OTEL_TRACES_SAMPLER_ARG", "not a share"),
    ] {
        assert!(
            said.lines()
                .any(|line| line.contains(variable) && line.contains(problem)),
            "{variable}: {said}"
        );
    }
    assert_refused(
        &small_and("FEATURE_OTEL_TRACING: true\nOTEL_CONFIG: {dt_api_url: 'jaeger:4317'}"),
        &["OTEL_CONFIG.dt_api_url"],
    );
}
