package admin

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/control"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

func id(s string) outbox.EntryID {
	e, err := outbox.ParseEntryID(s)
	if err != nil {
		panic(err)
	}
	return e
}

func stream(length, added int64, last string) *redis.XInfoStream {
	return &redis.XInfoStream{Length: length, EntriesAdded: added, LastGeneratedID: last}
}

// What is known is told, and what is not known is nil.
func TestView(t *testing.T) {
	now := time.UnixMilli(10_000)
	exactly := &relay.Position{Entry: id("5-0"), Count: 7, Missing: 1}
	atLeast := &relay.Position{Delivery: relay.DeliveryAtLeastOnce}
	running := &control.Report{State: "running", Instance: "r1", SinceMS: 1000}
	tests := []struct {
		name string
		in   facts
		want Shard
	}{
		{
			"exactly once, later",
			facts{
				report: running, info: stream(4, 11, "9-0"), asked: true, position: exactly,
				next: &redis.XMessage{ID: "8000-0"}, now: now,
			},
			Shard{
				State: "running", Owner: "r1", Since: ptr(time.UnixMilli(1000).UTC()),
				Delivery: "exactly-once", Position: "5-0", Delivered: ptr(uint64(7)), Missing: 1,
				LastEntry: "9-0", Retained: ptr(int64(4)), Lag: ptr(int64(3)), OldestUndelivered: ptr(2.0),
			},
		},
		{
			"current although entries were deleted by hand",
			facts{
				report: running, info: stream(1, 11, "9-0"), asked: true, position: exactly, none: true,
				now: now,
			},
			Shard{
				State: "running", Owner: "r1", Since: ptr(time.UnixMilli(1000).UTC()),
				Delivery: "exactly-once", Position: "5-0", Delivered: ptr(uint64(7)), Missing: 1,
				LastEntry: "9-0", Retained: ptr(int64(1)), Lag: ptr(int64(0)), OldestUndelivered: ptr(0.0),
			},
		},
		{
			"Redis without entries-added",
			facts{
				info: stream(4, 0, "9-0"), asked: true, position: exactly,
				next: &redis.XMessage{ID: "9000-0"}, now: now,
			},
			Shard{
				State: StateNone, Next: "sluice relay", Delivery: "exactly-once", Position: "5-0",
				Delivered: ptr(uint64(7)), Missing: 1, LastEntry: "9-0", Retained: ptr(int64(4)),
				OldestUndelivered: ptr(1.0),
			},
		},
		{
			"at least once, with pending entries",
			facts{
				info: stream(9, 9, "9-0"), asked: true, position: atLeast,
				group: &redis.XInfoGroup{LastDeliveredID: "6-0", EntriesRead: 6, Pending: 2, Lag: 3},
				next:  &redis.XMessage{ID: "5000-0"}, now: now,
			},
			Shard{
				State: StateNone, Next: "sluice relay", Delivery: "at-least-once", Position: "6-0",
				Delivered: ptr(uint64(4)), LastEntry: "9-0", Retained: ptr(int64(9)), Lag: ptr(int64(5)),
				OldestUndelivered: ptr(5.0),
			},
		},
		{
			"at least once, lag that Redis does not know",
			facts{
				info: stream(9, 9, "9-0"), asked: true, position: atLeast,
				group: &redis.XInfoGroup{LastDeliveredID: "6-0", Lag: -1}, next: &redis.XMessage{ID: "5000-0"},
				now: now,
			},
			Shard{
				State: StateNone, Next: "sluice relay", Delivery: "at-least-once", Position: "6-0",
				LastEntry: "9-0", Retained: ptr(int64(9)), OldestUndelivered: ptr(5.0),
			},
		},
		{
			"at least once, group destroyed",
			facts{
				info: stream(9, 9, "9-0"), asked: true, position: atLeast,
				next: &redis.XMessage{ID: "1000-0"}, now: now,
			},
			Shard{
				State: StateNone, Next: "sluice relay", Delivery: "at-least-once", LastEntry: "9-0",
				Retained: ptr(int64(9)), OldestUndelivered: ptr(9.0),
			},
		},
		{
			"no position, nothing trimmed",
			facts{info: stream(3, 3, "3-0"), asked: true, next: &redis.XMessage{ID: "10000-0"}, now: now},
			Shard{
				State: StateNone, Next: "sluice relay", Delivered: ptr(uint64(0)), LastEntry: "3-0",
				Retained: ptr(int64(3)), Lag: ptr(int64(3)), OldestUndelivered: ptr(0.0),
			},
		},
		{
			"no position, trimmed",
			facts{info: stream(3, 8, "3-0"), asked: true, next: &redis.XMessage{ID: "10000-0"}, now: now},
			Shard{
				State: StateNone, Next: "sluice relay", Delivered: ptr(uint64(0)), LastEntry: "3-0",
				Retained: ptr(int64(3)), OldestUndelivered: ptr(0.0),
			},
		},
		{
			"Kafka not asked",
			facts{info: stream(3, 3, "3-0"), now: now},
			Shard{State: StateNone, Next: "sluice relay", LastEntry: "3-0", Retained: ptr(int64(3))},
		},
		{
			"halted",
			facts{shard: 3, report: &control.Report{
				State: "halted", Instance: "r1", Reason: "rolled back",
				Expected: "a", Found: "b", Entry: "5-0",
			}, alone: true, now: now},
			Shard{
				Shard: 3, State: "halted", Owner: "r1", Reason: "rolled back", Expected: "a", Found: "b",
				Entry: "5-0", Next: "sluice resume --shard 3, with --after ENTRY, --from-start or --at-end",
			},
		},
		{
			"killed relay",
			facts{report: running, alone: true},
			Shard{
				State: StateNone, Since: ptr(time.UnixMilli(1000).UTC()),
				Reason: `r1 reported "running", and the relay group is empty now`, Next: "sluice relay",
			},
		},
		{
			"stopped relay",
			facts{report: &control.Report{State: "stopped", Instance: "r1"}},
			Shard{State: StateNone, Reason: "its last relay, r1, has stopped", Next: "sluice relay"},
		},
		{
			"paused without a relay",
			facts{pause: &control.Pause{By: "op", Reason: "maintenance"}},
			Shard{State: "paused", Reason: "paused by op: maintenance", Next: "sluice resume"},
		},
		{
			"pause that its relay has not followed yet",
			facts{report: running, pause: &control.Pause{By: "op"}},
			Shard{State: "running", Owner: "r1", Since: ptr(time.UnixMilli(1000).UTC())},
		},
		{
			"stream gone",
			facts{report: running, noStream: "the stream does not exist: it was deleted"},
			Shard{
				State: StateAbsent, Owner: "r1", Since: ptr(time.UnixMilli(1000).UTC()),
				Reason: "the stream does not exist: it was deleted", Next: "sluice migrate status",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.in.view()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
