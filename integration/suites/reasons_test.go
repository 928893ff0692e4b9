//go:build integration

package suites_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/relay"
)

// verifyAllBut is verifyDelivery for an environment some of whose entries, by shard and ID, cannot
// be delivered.
func verifyAllBut(t *testing.T, w *testenv.Env, dead map[int]map[string]relay.Reason,
	d relay.Delivery,
) {
	t.Helper()
	entries := w.Entries()
	healthy := make([]testenv.Entry, 0, len(entries))
	for _, e := range entries {
		if _, bad := dead[e.Shard][e.ID.String()]; !bad {
			healthy = append(healthy, e)
		}
	}
	records := w.Delivered()
	if d == relay.DeliveryAtLeastOnce {
		// What was delivered may be sent again, and be refused then.
		records = slices.DeleteFunc(records, func(r testenv.Record) bool {
			_, bad := dead[r.Shard][r.Entry.String()]
			return bad
		})
	}
	report := testenv.Compare(healthy, records)
	t.Log(report)
	err := report.ExactlyOnce()
	if d == relay.DeliveryAtLeastOnce {
		// What was sent in one batch with a refused record is sent again, and later.
		report.OutOfOrder = 0
		err = report.AtLeastOnce()
	}
	if err != nil {
		t.Error(err)
	}
	if d == relay.DeliveryExactlyOnce {
		if err := testenv.CheckPositions(entries, w.Positions()); err != nil {
			t.Error(err)
		}
	}
}

// checkReasons wants these entries, by shard and ID, in the dead-letter topic, each for its reason,
// and no others.
func checkReasons(t *testing.T, w *testenv.Env, want map[int]map[string]relay.Reason) {
	t.Helper()
	reasons := map[string]relay.Reason{}
	for shard, ids := range want {
		for id, reason := range ids {
			reasons[fmt.Sprintf("%s/%d/%s", w.Outbox, shard, id)] = reason
		}
	}
	found := map[string]bool{} // at-least-once delivery may send a dead letter twice
	wrong := 0
	for _, r := range w.Records(names.DeadLetterTopic(w.Outbox)) {
		if bytes.Contains(r.Key, []byte("#")) {
			continue // a later chunk of one
		}
		ref := testenv.Header(r, "sluice-entry")
		got := testenv.Header(r, "sluice-reason")
		if reason, ok := reasons[ref]; !ok || got != string(reason) {
			if wrong++; wrong <= 5 {
				t.Errorf("entry %s is dead-lettered as %s (%s), want %q", ref, got,
					testenv.Header(r, "sluice-detail"), reason)
			}
			continue
		}
		found[ref] = true
	}
	t.Logf("%d of %d entries are dead-lettered as they should be, %d records are wrong", len(found),
		len(reasons), wrong)
	if missing := len(reasons) - len(found); missing > 0 {
		t.Errorf("%d entries are not in the dead-letter topic", missing)
	}
}

// deadLettered are the entries in the dead-letter topic, by shard and ID.
func deadLettered(w *testenv.Env) map[int]map[string]bool {
	dead := map[int]map[string]bool{}
	for shard := range w.Shards {
		dead[shard] = map[string]bool{}
	}
	for _, r := range w.Records(names.DeadLetterTopic(w.Outbox)) {
		var shard int
		var id string
		ref := strings.TrimPrefix(testenv.Header(r, "sluice-entry"), w.Outbox)
		if n, err := fmt.Sscanf(ref, "/%d/%s", &shard, &id); n == 2 && err == nil && dead[shard] != nil {
			dead[shard][id] = true
		}
	}
	return dead
}
