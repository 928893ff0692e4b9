package admin

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/relay"
)

func TestMoves(t *testing.T) {
	s := newStage(t)
	s.append(t, 1, 2, 3, 4, 5)
	plan := func(where Where) Move {
		t.Helper()
		m, err := PlanMove(t.Context(), s.Servers, "orders", s.look(t).Shards[1], where)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := plan(Where{After: id("3-0")})
	if m.From != nil || m.Sends != 2 || m.SendsAgain != 0 || m.FirstSent != "4-0" ||
		m.To.Entry != id("3-0") || m.To.Fingerprint == "" {
		t.Errorf("first position: got %+v", m)
	}
	if err := ApplyMove(t.Context(), s.Servers, "orders", m, "op"); err != nil {
		t.Fatal(err)
	}
	sh := s.look(t).Shards[1]
	if sh.Position != "3-0" || sh.Delivery != "exactly-once" {
		t.Fatalf("after the first move: got %+v", sh)
	}
	if m = plan(Where{}); m.Sends != 5 || m.SendsAgain != 3 || m.Skips != 0 || m.FirstSent != "1-0" ||
		m.From == nil || m.FromEntry != "3-0" {
		t.Errorf("from the start: got %+v", m)
	}
	if m = plan(Where{AtEnd: true}); m.Sends != 0 || m.Skips != 2 || m.To.Entry != id("5-0") ||
		m.FirstSent != "" {
		t.Errorf("at the end: got %+v", m)
	}
	if m = plan(Where{After: id("2-5")}); m.Sends != 3 || m.SendsAgain != 1 || m.To.Fingerprint != "" {
		t.Errorf("between two entries: got %+v", m)
	}
	if _, err := PlanMove(t.Context(), s.Servers, "orders", sh, Where{After: id("9-0")}); err == nil {
		t.Error("a position beyond the end was accepted")
	}
}

// A stream that was rolled back below the position has nothing of it to send again.
func TestMoveAfterARollBack(t *testing.T) {
	s := newStage(t)
	s.append(t, 1, 2)
	sh := Shard{Shard: 1, Position: "7-0"}
	m, err := PlanMove(t.Context(), s.Servers, "orders", sh, Where{After: id("1-0")})
	if err != nil || m.Sends != 1 || m.SendsAgain != 1 {
		t.Errorf("got %+v, %v", m, err)
	}
	if m.To.Delivery != relay.DeliveryExactlyOnce {
		t.Errorf("got delivery %v", m.To.Delivery)
	}
}

// Somebody reads through the consumer group: a position would not stop it, whatever the status
// says.
func TestMoveWhileTheGroupIsRead(t *testing.T) {
	s := newStage(t)
	s.append(t, 1, 2)
	sh := s.look(t).Shards[1]
	m, err := PlanMove(t.Context(), s.Servers, "orders", sh, Where{After: id("1-0")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Redis.XReadGroup(t.Context(),
		&redis.XReadGroupArgs{
			Group: names.ConsumerGroup, Consumer: "relay-7",
			Streams: []string{"sluice:{orders:1}", ">"}, Count: 1, Block: -1,
		}).Err(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"apply": ApplyMove(t.Context(), s.Servers, "orders", m, "op"),
		"plan":  second(PlanMove(t.Context(), s.Servers, "orders", sh, Where{After: id("1-0")})),
	} {
		if err == nil || !strings.Contains(err.Error(), "relay-7") ||
			!strings.Contains(err.Error(), "sluice pause --shard 1") {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if sh := s.look(t).Shards[1]; sh.Position == "1-0" &&
		sh.Delivery == relay.DeliveryExactlyOnce.String() {
		t.Error("the position was set")
	}
}

func second(_ Move, err error) error { return err }

// More than one chunk of entries is counted whole.
func TestCount(t *testing.T) {
	s := newStage(t)
	ids := make([]int, 2*countChunk+3)
	for i := range ids {
		ids[i] = i + 1
	}
	s.append(t, ids...)
	n, first, err := count(t.Context(), s.Redis, "sluice:{orders:1}", id("2-0"), id("1002-0"))
	if err != nil || n != 1000 || first != "3-0" {
		t.Errorf("got %d from %s, %v", n, first, err)
	}
}
