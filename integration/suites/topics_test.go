//go:build integration

package suites_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// unknownTopic is an environment with ten events for its own topic, one for a topic that does not
// exist, and ten more.
func unknownTopic(t *testing.T) (w *testenv.Env, topic, entry string) {
	t.Helper()
	w = shared(t, 1)
	topic = w.Outbox + ".unknown"
	if _, err := kadm.NewClient(w.Kafka).CreateTopic(deadline(t, time.Minute), 1, -1, nil,
		w.Topic()); err != nil {
		t.Fatal(err)
	}
	w.Add(0, 10, "before")
	entry = w.AddFields(0, "*", append(w.Fields("for a topic that does not exist"), outbox.FieldTopic,
		topic)...)
	w.Add(0, 10, "after")
	return w, topic, entry
}

// TestUnknownTopicIsCreated by the default policy, with as many partitions as there are shards.
func TestUnknownTopicIsCreated(t *testing.T) {
	t.Parallel()
	w, topic, _ := unknownTopic(t)
	w.Run(w.Config())
	w.AwaitCommitted(time.Minute)
	verify(t, w, topic)
}

// TestUnknownTopicIsDeadLettered by policy; the rest flows on.
func TestUnknownTopicIsDeadLettered(t *testing.T) {
	t.Parallel()
	w, topic, entry := unknownTopic(t)
	cfg := w.Config()
	cfg.Topics.OnUnknown = relay.UnknownTopicDeadLetter
	w.Run(cfg)
	w.AwaitCommitted(time.Minute)
	if got := len(w.Delivered()); got != 20 {
		t.Errorf("%d records, want 20", got)
	}
	checkDeadLetters(t, w,
		map[string]poison{entry: {name: "unknown topic", reason: relay.ReasonUnknownTopic}})
	if got := len(w.Records(topic)); got != 0 {
		t.Errorf("%d records in a topic that should not exist", got)
	}
}

// TestUnknownTopicHalts by policy, before the entry; when the topic is there, the shard goes on by
// itself.
func TestUnknownTopicHalts(t *testing.T) {
	t.Parallel()
	w, topic, entry := unknownTopic(t)
	cfg := w.Config()
	cfg.Topics.OnUnknown = relay.UnknownTopicHalt
	w.Run(cfg)
	st := w.AwaitState(0, relay.StateHalted, time.Minute)
	t.Logf("halted: %s", st.Reason)
	if st.Entry != entry || !strings.Contains(st.Reason, topic) {
		t.Errorf("halted for entry %s: %s; want entry %s and topic %s", st.Entry, st.Reason, entry, topic)
	}
	if got := len(w.Delivered()); got != 10 {
		t.Errorf("%d records before the halt, want 10", got)
	}
	if _, err := kadm.NewClient(w.Kafka).CreateTopic(deadline(t, time.Minute), 1, -1, nil,
		topic); err != nil {
		t.Fatal(err)
	}
	w.AwaitCommitted(time.Minute)
	verify(t, w, topic)
}
