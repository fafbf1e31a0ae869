//! The metrics that Prometheus is told, in the form of OTLP: the same names, labels and values.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus::proto::{self, MetricFamily, MetricType};
use roadstead_runtime::Timestamp;

use crate::collector::text;

/// All families as one message. Counters and histograms count since `began`.
pub(crate) fn request(
    resource: Resource,
    families: &[MetricFamily],
    (began, now): (Timestamp, Timestamp),
) -> ExportMetricsServiceRequest {
    let times = Times {
        began: nanoseconds(began),
        now: nanoseconds(now),
    };
    let metrics = families
        .iter()
        .filter_map(|family| metric_of(family, times))
        .collect();
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "roadstead".to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics,
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

#[derive(Clone, Copy)]
struct Times {
    began: u64,
    now: u64,
}

fn nanoseconds(time: Timestamp) -> u64 {
    time.timestamp_nanos_opt()
        .and_then(|nanoseconds| nanoseconds.try_into().ok())
        .unwrap_or_default()
}

/// Summaries and what has no type are not among ours.
fn metric_of(family: &MetricFamily, times: Times) -> Option<Metric> {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let each = family.get_metric().iter();
    let data = match family.get_field_type() {
        MetricType::COUNTER => metric::Data::Sum(Sum {
            data_points: each
                .map(|one| point(one, one.get_counter().get_value(), times))
                .collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::GAUGE => metric::Data::Gauge(Gauge {
            data_points: each
                .map(|one| point(one, one.get_gauge().get_value(), times))
                .collect(),
        }),
        MetricType::HISTOGRAM => metric::Data::Histogram(Histogram {
            data_points: each.map(|one| histogram(one, times)).collect(),
            aggregation_temporality: cumulative,
        }),
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    Some(Metric {
        name: family.name().to_owned(),
        description: family.help().to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

fn point(one: &proto::Metric, value: f64, times: Times) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(one),
        start_time_unix_nano: times.began,
        time_unix_nano: times.now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

/// Prometheus counts in a bucket what is in the smaller ones too, OTLP does not.
fn histogram(one: &proto::Metric, times: Times) -> HistogramDataPoint {
    let histogram = one.get_histogram();
    let count = histogram.get_sample_count();
    let finite = histogram
        .get_bucket()
        .iter()
        .filter(|bucket| bucket.upper_bound().is_finite());
    let (bounds, cumulative): (Vec<f64>, Vec<u64>) = finite
        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
        .unzip();
    let mut below = 0;
    let bucket_counts = cumulative
        .into_iter()
        .chain([count])
        .map(|up_to| {
            let own = up_to.saturating_sub(below);
            below = up_to;
            own
        })
        .collect();
    HistogramDataPoint {
        attributes: attributes(one),
        start_time_unix_nano: times.began,
        time_unix_nano: times.now,
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts,
        explicit_bounds: bounds,
        ..HistogramDataPoint::default()
    }
}

fn attributes(one: &proto::Metric) -> Vec<KeyValue> {
    one.get_label()
        .iter()
        .map(|label| text(label.name(), label.value()))
        .collect()
}

#[cfg(test)]
mod tests {
    use prometheus::core::Collector as _;
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};

    use super::*;

    #[test]
    fn counters_gauges_and_histograms_keep_names_labels_and_values() {
        let counter = IntCounterVec::new(Opts::new("a_total", "help"), &["route"]).unwrap();
        counter.with_label_values(&["blob"]).inc_by(3);
        let gauge = IntGauge::new("b", "help").unwrap();
        gauge.set(-1);
        let options = HistogramOpts::new("c_seconds", "help").buckets(vec![1.0, 2.0]);
        let histogram = HistogramVec::new(options, &[]).unwrap();
        for value in [0.5, 1.5, 1.5, 9.0] {
            histogram.with_label_values::<&str>(&[]).observe(value);
        }
        let families = [counter.collect(), gauge.collect(), histogram.collect()].concat();
        let (began, now) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let request = request(Resource::default(), &families, (began, now));
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let [counter, gauge, histogram] = metrics.as_slice() else {
            panic!("{metrics:?}");
        };
        assert_eq!(counter.name, "a_total");
        let Some(metric::Data::Sum(sum)) = &counter.data else {
            panic!("{counter:?}");
        };
        assert!(sum.is_monotonic);
        let value = Some(number_data_point::Value::AsDouble(3.0));
        assert_eq!(sum.data_points[0].value, value);
        assert_eq!(sum.data_points[0].attributes, [text("route", "blob")]);
        let Some(metric::Data::Gauge(gauge)) = &gauge.data else {
            panic!("{gauge:?}");
        };
        let value = Some(number_data_point::Value::AsDouble(-1.0));
        assert_eq!(gauge.data_points[0].value, value);
        let Some(metric::Data::Histogram(histogram)) = &histogram.data else {
            panic!("{histogram:?}");
        };
        let point = &histogram.data_points[0];
        assert_eq!(point.explicit_bounds, [1.0, 2.0]);
        assert_eq!(point.bucket_counts, [1, 2, 1]);
        assert_eq!((point.count, point.sum), (4, Some(12.5)));
    }
}
