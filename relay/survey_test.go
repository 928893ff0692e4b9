package relay

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// A partition that nobody could be asked about gets no record: the transaction fails before it is sent, and others are not touched.
func TestOfflinePartitionsGetNothing(t *testing.T) {
	t.Parallel()
	v := survey{offline: map[string]offlineTopic{}, partitions: map[string]int{"t": 3}}
	key := []byte("k")
	at := place{"t", int32(outbox.Partition(key, 3))}
	v.setOffline(at)
	if !v.isOffline(at) || v.isOffline(place{"t", (at.partition + 1) % 3}) || v.isOffline(place{"u", at.partition}) {
		t.Fatalf("offline: %+v", v.offline)
	}
	p := producers{offline: v.offline}
	record := &kgo.Record{Topic: "t", Key: key, Headers: []kgo.RecordHeader{{Key: "id"}}}
	p.send(t.Context(), []*kgo.Record{record})
	if len(p.failures) != 1 || !errors.Is(p.failures[0].err, kerr.LeaderNotAvailable) {
		t.Errorf("failures: %v", p.failures)
	}
	if other := (&kgo.Record{Topic: "u", Key: key, Headers: record.Headers}); p.isOffline(other) {
		t.Error("a topic that is all there is offline")
	}
}

// After a request without an answer no transaction begins: the next session looks first what became of the one before.
func TestNoTransactionAfterALostBroker(t *testing.T) {
	t.Parallel()
	var p producers
	p.broken.OnBrokerE2E(kgo.BrokerMetadata{}, 0, kgo.BrokerE2E{})
	if p.broken.Load() {
		t.Error("an answer is no loss")
	}
	p.broken.OnBrokerE2E(kgo.BrokerMetadata{}, 0, kgo.BrokerE2E{ReadErr: errors.New("EOF")})
	if err := p.begin(); !errors.Is(err, errRestart) {
		t.Errorf("begin: %v", err)
	}
}

func TestIsCommitMarker(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]bool{"\x00\x00\x00\x01": true, "\x00\x00\x00\x00": false, "\x00\x01\x00\x01": true, "\x00\x00\x01": false, "": false} {
		if got := isCommitMarker(&kgo.Record{Key: []byte(key)}); got != want {
			t.Errorf("%q: %v", key, got)
		}
	}
}
