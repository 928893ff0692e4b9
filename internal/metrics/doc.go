// Package metrics turns what a relay does into Prometheus metrics. The relay itself knows nothing of Prometheus: it has an
// Observer, and this package is one.
//
// Units are base units, counters end in _total, and no label holds an id or a key. The label topic is bounded: routes
// may build topics from data, so beyond maxTopics the rest is counted as "(other)".
//
// A gauge whose value is not known is absent, never 0: "no lag" and "lag unknown" are different news.
package metrics
