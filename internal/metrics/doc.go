// Package metrics turns what relays and audits do into Prometheus metrics. They themselves know
// nothing of Prometheus: a relay has an Observer, an audit a report, and this package takes both.
//
// Units are base units, counters end in _total, and no label holds an id or a key. The label topic
// is bounded: routes may build topics from data, so beyond maxTopics the rest is counted as
// "(other)".
//
// A gauge whose value is not known is absent, never 0: "no lag" and "lag unknown" are different
// news.
package metrics
