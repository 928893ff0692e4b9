//go:build integration

package suites_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// holder is a dialer whose connections hold back the first request of one kind after it was armed,
// until it is let go.
type holder struct {
	key   kmsg.Key
	armed atomic.Bool
	held  chan struct{} // closed when there is one
	free  chan struct{}
}

func newHolder(key kmsg.Key) *holder {
	return &holder{key: key, held: make(chan struct{}), free: make(chan struct{})}
}

func (h *holder) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &heldConn{conn, h}, nil
}

type heldConn struct {
	net.Conn
	h *holder
}

// Write relies on kgo's writing each request in one piece.
func (c *heldConn) Write(p []byte) (int, error) {
	if len(p) >= 6 && binary.BigEndian.Uint16(p[4:]) == uint16(c.h.key.Int16()) &&
		c.h.armed.CompareAndSwap(true, false) {
		close(c.h.held)
		<-c.h.free
		// The client may have given up meanwhile; this one is to go out all the same.
		_ = c.Conn.SetDeadline(time.Time{})
	}
	return c.Conn.Write(p)
}

// TestOlderOwnersTransactionIsNeverVisible: two relays own one shard, on purpose. The older one has
// produced and is about to commit when the newer one starts. What it had produced is never visible,
// and it says that it was fenced.
func TestOlderOwnersTransactionIsNeverVisible(t *testing.T) {
	t.Parallel()
	w := shared(t, 1)
	const n = 5000
	hold := newHolder(kmsg.EndTxn)
	older := w.Config()
	older.Instance, older.Assign, older.Kafka = "older", []int{0},
		append(w.KafkaOpts(), kgo.Dialer(hold.Dial))
	old := w.Run(older)
	w.Add(0, 1, "the first")
	w.AwaitCommitted(time.Minute)
	before := ends(t, w.Kafka, w.Topic())
	hold.armed.Store(true)
	w.Add(0, n, "some payload")
	select {
	case <-hold.held:
	case <-time.After(time.Minute):
		t.Fatal("the older relay did not come to its commit")
	}
	if got := len(w.Records(w.Topic())); got != 1 {
		t.Fatalf("%d records of an open transaction are visible", got-1)
	}
	open := ends(t, w.Kafka, w.Topic()) - before

	newer := w.Config()
	newer.Instance, newer.Assign = "newer", []int{0}
	w.Run(newer)
	w.AwaitCommitted(time.Minute)
	close(hold.free)
	w.AwaitLog(old, time.Minute, "fenced by a newer owner")
	// With fixed shards there is nobody to tell the older one that it lost its shard: it would try
	// again, and win.
	if err := old.Stop(); err != nil {
		t.Fatal(err)
	}
	w.Add(0, n, "more payload")
	w.AwaitCommitted(time.Minute)
	verify(t, w)
	t.Logf("the older relay had %d records in an open transaction; none became visible", open)
	if open == 0 {
		t.Error("the older relay had produced nothing")
	}
}

// ends is the sum of a topic's end offsets, with what is not committed.
func ends(t *testing.T, client *kgo.Client, topic string) (sum int64) {
	t.Helper()
	offsets, err := kadm.NewClient(client).ListEndOffsets(deadline(t, time.Minute), topic)
	if err = errors.Join(err, offsets.Error()); err != nil {
		t.Fatal(err)
	}
	offsets.Each(func(o kadm.ListedOffset) { sum += o.Offset })
	return sum
}
