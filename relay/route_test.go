package relay

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// routed is an entry as the router sees one.
func routed(aggregateType, eventType string) *entry {
	return &entry{
		aggregateType: []byte(aggregateType), aggregateID: []byte("42"),
		eventType: []byte(eventType),
	}
}

func TestRoute(t *testing.T) {
	t.Parallel()
	overridden := routed("order", "Placed")
	overridden.topic = []byte("elsewhere")
	keyed := routed("order", "Placed")
	keyed.key = []byte("vip")
	typed := routed("order", "Placed")
	typed.contentType = []byte("json")
	tenant := routed("order", "Placed")
	tenant.headers = []kgo.RecordHeader{
		{Key: "region", Value: []byte("eu")},
		{Key: "tenant", Value: []byte("acme")},
	}
	long := strings.Repeat("t", 249)

	for _, c := range []struct {
		route string
		e     *entry
		want  string
	}{
		{"outbox.event.{{.AggregateType}}", routed("order", "Placed"), "outbox.event.order"},
		{"{{.AggregateType}}.{{.Type}}", routed("order", "Placed"), "order.Placed"},
		{"{{.AggregateType | lower}}-{{.Type | lower}}", routed("Order", "Placed"), "order-placed"},
		{"{{.AggregateType}}.{{.AggregateID}}", routed("order", "Placed"), "order.42"},
		{"by-key.{{.Key}}", routed("order", "Placed"), "by-key.42"},
		{"by-key.{{.Key}}", keyed, "by-key.vip"},
		{"as.{{.ContentType}}", typed, "as.json"},
		{`{{header "tenant"}}.orders`, tenant, "acme.orders"},
		{`{{if eq .Type "Placed"}}placed{{else}}other{{end}}`, routed("order", "Placed"), "placed"},
		{`{{if eq .Type "Placed"}}placed{{else}}other{{end}}`, routed("order", "Shipped"), "other"},
		{`{{with .AggregateType}}with.{{.}}{{end}}`, routed("order", "Placed"), "with.order"},
		{`{{$t := .AggregateID}}var.{{$t}}`, routed("order", "Placed"), "var.42"},
		{`{{printf "%s_%s" .AggregateType .Type}}`, routed("order", "Placed"), "order_Placed"},
		{"constant", routed("order", "Placed"), "constant"},
		{"constant", overridden, "elsewhere"},
		{"outbox.event.{{.AggregateType}}", overridden, "elsewhere"},
		{long, routed("order", "Placed"), long},
	} {
		r, err := newRouter(c.route, "positions", "letters")
		if err != nil {
			t.Errorf("%s: %v", c.route, err)
			continue
		}
		for range 3 { // the second comes from the cache
			if got, err := r.topic(c.e); err != nil || got != c.want {
				t.Errorf("%s: got %q, %v, want %q", c.route, got, err, c.want)
			}
		}
	}
}

func TestRouteWithoutTopic(t *testing.T) {
	t.Parallel()
	override := func(topic string) *entry {
		e := routed("order", "Placed")
		e.topic = []byte(topic)
		return e
	}
	for _, c := range []struct {
		route string
		e     *entry
	}{
		{"outbox.event.{{.AggregateType}}", routed("or der", "Placed")},
		{"outbox.event.{{.AggregateType}}", routed("größe", "Placed")},
		{"outbox.event.{{.AggregateType}}", routed("a/b", "Placed")},
		{"outbox.event.{{.AggregateType}}", routed(strings.Repeat("x", 250), "Placed")},
		{`{{header "tenant"}}`, routed("order", "Placed")}, // it has none
		{"{{.Type}}", routed("order", ".")},
		{"{{.Type}}", routed("order", "..")},
		{"{{.Type}}", routed("order", "positions")},
		{"{{.Type}}", routed("order", "letters")},
		{"{{.Type}}", routed("order", "__consumer_offsets")},
		{"{{.Type}}", routed("order", "__transaction_state")},
		{"constant", override(".")},
		{"constant", override("..")},
		{"constant", override("a b")},
		{"constant", override(strings.Repeat("x", 250))},
		{"constant", override("positions")},
		{"constant", override("letters")},
		// Internal topics, this outbox's and others': a record there would be believed.
		{"constant", override("sluice.pay.positions")},
		{"constant", override("sluice.pay.audits")},
		{"constant", override("sluice.pay.dlq")},
		{"{{.Type}}", routed("order", "sluice.x")},
		{"constant", override("__share_group_state")},
	} {
		r, err := newRouter(c.route, "positions", "letters")
		if err != nil {
			t.Errorf("%s: %v", c.route, err)
			continue
		}
		for range 2 {
			if got, err := r.topic(c.e); err == nil {
				t.Errorf("%s, override %q: got %q, want an error", c.route, c.e.topic, got)
			} else if len(err.Error()) > 400 {
				t.Errorf("%s: the error has %d characters", c.route, len(err.Error()))
			}
		}
	}
}

func TestNewRouterRefuses(t *testing.T) {
	t.Parallel()
	for route, want := range map[string]string{
		"{{.AggregateType":     "unclosed action",
		"{{.Tenant}}":          "Tenant",
		"{{tenant}}":           `function "tenant" not defined`,
		"{{header}}":           "header",
		"a b":                  "not a Kafka topic name",
		"..":                   "not a Kafka topic name",
		"":                     "not a Kafka topic name",
		"positions":            "positions",
		"__consumer_offsets":   "__consumer_offsets",
		"{{.Type.Sub}}":        "Sub",
		`{{template "other"}}`: "other",
		// Not reached by the event that a route is tried on.
		`x{{if eq .Type "never"}}{{.Tenant}}{{end}}`: "Tenant",
	} {
		if _, err := newRouter(route, "positions"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", route, err, want)
		}
	}
}

func TestRouteCacheIsBounded(t *testing.T) {
	t.Parallel()
	r, err := newRouter("{{.AggregateType}}.{{.Type}}")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * routeCacheSize {
		e := routed("order", fmt.Sprintf("T%d", i))
		if i%2 == 0 {
			e.topic = fmt.Appendf(nil, "override-%d", i)
		}
		got, err := r.topic(e)
		want := "order." + string(e.eventType)
		if i%2 == 0 {
			want = string(e.topic)
		}
		if err != nil || got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	if n := len(r.cache); n > routeCacheSize {
		t.Errorf("%d topics are remembered, want at most %d", n, routeCacheSize)
	}
}

// An event whose aggregate type looks like an internal key of the cache must not redirect the
// overrides of others.
func TestRouteCacheKeepsOverridesApart(t *testing.T) {
	t.Parallel()
	r, err := newRouter("{{.Type}}.events")
	if err != nil {
		t.Fatal(err)
	}
	for _, aggregateType := range []string{"\x00topic", "", "order"} {
		if got, err := r.topic(routed(aggregateType, "pay")); err != nil || got != "pay.events" {
			t.Errorf("%q: got %q, %v", aggregateType, got, err)
		}
		e := routed("order", "Placed")
		e.topic = []byte("pay")
		if got, err := r.topic(e); err != nil || got != "pay" {
			t.Errorf("override: got %q, %v", got, err)
		}
	}
}

// The key, the id or a header of one event must not decide the topic of the next.
func TestRouteCachesOnlyByTypes(t *testing.T) {
	t.Parallel()
	for route, cacheable := range map[string]bool{
		"{{.AggregateType}}": true, "{{.Type | lower}}": true,
		`{{if eq .Type "x"}}a{{else}}b{{end}}`: true,
		"{{.Key}}":                             false, "{{.AggregateID}}": false,
		"{{.ContentType}}x": false,
		`{{header "h"}}`:    false, "{{.AggregateType}}{{if .Key}}{{end}}": false,
		"{{with .Key}}{{end}}x": false, "{{$k := .Key}}x": false,
		`{{range $i, $c := .Type}}{{end}}x`: false, `{{printf "%s" .Key}}`: false, "{{(.Key)}}": false,
	} {
		r, err := newRouter(route)
		if err != nil {
			if strings.HasPrefix(route, "{{range") { // a string cannot be ranged over
				continue
			}
			t.Errorf("%s: %v", route, err)
			continue
		}
		if r.cacheable != cacheable {
			t.Errorf("%s: cacheable is %v, want %v", route, r.cacheable, cacheable)
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	for name, route := range map[string]string{
		"cached": "outbox.event.{{.AggregateType}}",
		"header": `{{header "tenant"}}.events`,
	} {
		b.Run(name, func(b *testing.B) {
			r, err := newRouter(route)
			if err != nil {
				b.Fatal(err)
			}
			e := routed("order", "Placed")
			e.headers = []kgo.RecordHeader{{Key: "tenant", Value: []byte("acme")}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.topic(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
