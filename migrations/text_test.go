package migrations

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-outbox/sluice/internal/names"
)

var update = flag.Bool("update", false, "write the golden files")

// What people read is in testdata; -update writes it anew.
func TestText(t *testing.T) {
	cfg := Config{
		Outbox: "orders", Shards: 2, DeadLetterTopic: names.DeadLetterTopic("orders"),
		ReplicationFactor: 3,
	}
	modern := redisVersion{text: "7.0.15", major: 7}
	nothing := observed{redis: modern, streams: []streamState{{kind: "none"}, {kind: "none"}}}
	fine := topicState{partitions: 2, policy: "compact", maxMessage: deadLetterMaxMessage}
	whole := observed{
		redis:   modern,
		layout:  layoutState{exists: true, version: 3, format: 1, shards: 2, created: 1767225600000},
		streams: []streamState{{kind: "stream", group: true}, {kind: "stream", group: true}},
		topics:  map[string]topicState{"sluice.orders.positions": fine, "sluice.orders.dlq": fine},
	}
	half := whole
	half.layout.version = 1
	half.topics = nil
	broken := whole
	broken.streams = []streamState{{kind: "stream"}, {kind: "none"}}
	broken.topics = map[string]topicState{"sluice.orders.positions": fine}
	groupless := whole
	groupless.streams = []streamState{
		{kind: "stream", used: true},
		{kind: "stream", group: true, used: true},
	}
	wrong := whole
	wrong.redis = redisVersion{}
	wrong.topics = map[string]topicState{"sluice.orders.dlq": {partitions: 1, policy: "delete"}}
	other := whole
	other.layout.shards = 8

	for name, text := range map[string]string{
		"plan_new":         written(t, cfg.plan(nothing, Newest)),
		"plan_first":       written(t, cfg.plan(nothing, 1)),
		"plan_half":        written(t, cfg.plan(half, Newest)),
		"plan_nothing":     written(t, cfg.plan(whole, Newest)),
		"plan_repair":      written(t, cfg.plan(broken, Newest)),
		"plan_groupless":   written(t, cfg.plan(groupless, Newest)),
		"status_groupless": written(t, cfg.status(groupless)),
		"plan_refused":     written(t, cfg.plan(wrong, Newest)),
		"plan_other":       written(t, cfg.plan(other, Newest)),
		"status_none":      written(t, cfg.status(nothing)),
		"status_half":      written(t, cfg.status(half)),
		"status_current":   written(t, cfg.status(whole)),
		"status_drifted":   written(t, cfg.status(broken)),
		"status_unchecked": written(t, cfg.status(wrong)),
	} {
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), text); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func written(t *testing.T, v io.WriterTo) string {
	t.Helper()
	var b strings.Builder
	if _, err := v.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
