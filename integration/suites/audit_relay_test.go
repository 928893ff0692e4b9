//go:build integration

package suites_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// TestAuditExpectsWhatTheRelayDelivers: in every format and both deliveries, with headers,
// overrides, tombstones and dead letters, what the relay makes of entries is what the audit, which
// shares no code with it, asks for.
func TestAuditExpectsWhatTheRelayDelivers(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		format     relay.Format
		delivery   relay.Delivery
		tombstones bool
	}{
		{relay.FormatRaw, relay.DeliveryExactlyOnce, false},
		{relay.FormatRaw, relay.DeliveryAtLeastOnce, true},
		{relay.FormatCloudEventsBinary, relay.DeliveryExactlyOnce, true},
		{relay.FormatCloudEventsStructured, relay.DeliveryExactlyOnce, false},
		{relay.FormatCloudEventsStructured, relay.DeliveryAtLeastOnce, true},
	} {
		t.Run(fmt.Sprint(x.format, " ", x.delivery, " ", x.tombstones), func(t *testing.T) {
			w := shared(t, 2)
			rc := w.Config()
			// Aggregate types make topics; one of them is no name for a topic.
			rc.Route, rc.Format, rc.Delivery, rc.Tombstones, rc.Source = w.Outbox+`.{{.AggregateType}}`,
				x.format, x.delivery, x.tombstones, "shop <&>"
			w.Run(rc)
			n := 0
			for _, aggregate := range []string{"order", "invoice", "no topic"} {
				for _, payload := range []string{"", "text é <&>", `{"b":1.50,"a":[null,"<"]}`, "\xff\x00"} {
					for _, contentType := range []string{
						"", "application/json", "text/plain; charset=utf-8",
						"image/png",
					} {
						for _, headers := range []string{"{}", `{"z":"1","a":"é\n"}`, "", `{"id":"reserved"}`} {
							n++
							fields := []any{
								outbox.FieldID, fmt.Sprint("e", n), outbox.FieldAggregateType, aggregate,
								outbox.FieldAggregateID, fmt.Sprint("k", n%7), outbox.FieldType, "placed <&>",
								outbox.FieldPayload, payload, outbox.FieldHeaders, headers,
							}
							if contentType != "" {
								fields = append(fields, outbox.FieldContentType, contentType)
							}
							switch n % 5 {
							case 1:
								fields = append(fields, outbox.FieldTopic, w.Outbox+".own")
							case 2:
								fields = append(fields, outbox.FieldKey, "another")
							case 3:
								fields = append(fields, outbox.FieldTime, "1600000000123")
							}
							w.AddFields(n%2, "*", fields...)
						}
					}
				}
			}
			if x.delivery == relay.DeliveryExactlyOnce {
				w.AwaitCommitted(time.Minute)
			} else {
				w.AwaitAcknowledged(time.Minute)
			}
			cfg := auditConfig(w)
			cfg.Route, cfg.Format, cfg.Tombstones, cfg.Source = rc.Route,
				consistency.Format(fmt.Sprint(x.format)), x.tombstones, rc.Source
			r := audit(t, cfg)
			if r.Verdict != consistency.Agree || len(r.Findings) > 0 || r.Entries != int64(n) ||
				r.DeadLetters == 0 {
				for _, f := range r.Findings[:min(5, len(r.Findings))] {
					t.Logf("%+v", f)
				}
				t.Fatalf("%s: %d of %d entries, %d dead letters, %d findings, %v", r.Verdict, r.Entries, n,
					r.DeadLetters, len(r.Findings), r.Incomplete)
			}
			// Where the relay is told another source, all of it is wrong.
			cfg.Source, cfg.Full = "other", true
			if x.format != relay.FormatRaw {
				if r := audit(t, cfg); r.Verdict != consistency.Drift || r.Counts[consistency.Altered] == 0 {
					t.Errorf("with another source: %s %v", r.Verdict, r.Counts)
				}
			}
		})
	}
}

// TestAuditAtAnyMoment asks again and again while entries are added and delivered: there is never a
// finding, and nothing but what still waits keeps an audit from agreeing.
func TestAuditAtAnyMoment(t *testing.T) {
	t.Parallel()
	w := shared(t, 4)
	w.Run(w.Config())
	total, compared := int64(0), int64(0)
	cfg := auditConfig(w)
	for range 6 {
		for shard := range w.Shards {
			n := scaled(t, 5000)
			w.Add(shard, n, "payload")
			total += int64(n)
		}
		r := audit(t, cfg)
		compared += r.Entries
		if int64(len(r.Findings)) > r.Counts[consistency.Late] {
			t.Fatalf("%v", r.Findings)
		}
		for _, why := range r.Incomplete {
			if !strings.Contains(why, "not delivered yet") {
				t.Errorf("%s", why)
			}
		}
	}
	w.AwaitCommitted(time.Minute)
	if r := audit(t, cfg); r.Verdict != consistency.Agree || compared+r.Entries != total {
		t.Fatalf("%s: %d of %d entries: %v %v", r.Verdict, compared+r.Entries, total, r.Findings,
			r.Incomplete)
	}
}
