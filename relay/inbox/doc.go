// Package inbox lets records of Kafka take effect on Redis exactly once: it is the way back of an
// outbox.
//
//	in, err := inbox.New(inbox.Config{
//		Inbox: "shipping", Redis: client, Kafka: opts, Topics: []string{"outbox.event.order"},
//		Handle: func(ctx context.Context, tx *inbox.Tx, r inbox.Record) error {
//			tx.Queue().HSet(ctx, tx.StateKey("order:"+r.Key), "status", "placed")
//			return tx.Append(outbox.Event{...}) // optional: into an outbox, in the same EXEC
//		},
//	})
//	err = in.Run(ctx)
//
// # Promise
//
// Every committed record of the topics takes effect once, in the order of its partition, whatever
// is killed, paused or partitioned and however many instances run. What Redis loses, it loses
// together with the position, and those records are applied again to the older state. What Kafka no
// longer has halts the partition with the evidence.
//
// # Why it holds
//
// The position of a partition is a Redis key in the hash slot of the state that it covers. It moves
// in the MULTI/EXEC of the effects, under WATCH on itself. Whoever was overtaken finds another
// position, or fails at EXEC. Kafka's group says which instance works on which partition; it
// decides nothing else, and neither do the offsets that are committed to it.
//
// # Parts
//
// The group (membership.go) gives an instance partitions. Each is a worker (partition.go): it reads
// its position (begin.go), holds it against what Kafka has (bounds.go), takes records from a
// consumer that all partitions share (fetcher.go, queue.go), runs the handler on many of them
// (transaction.go, tx.go) and commits the effects (commit.go). slot.go and types.go refuse commands
// before they are sent. What fails is retried in place (failure.go), and then becomes a dead letter
// (letter.go, letters.go) or parks its key (park.go), until it is replayed (replay.go,
// replaykey.go) or Redis goes back (rewind.go). errors.go decides what an error means. layout.go
// and offsets.go keep what must stay the same from start to start. admin.go, reset.go and
// control.go are what operators do from another process.
//
// # States of a partition
//
//	starting ──► running ──► waiting ──► starting      tried again with backoff
//	    │           │  └───► halted  ──► starting      looked at again every few seconds
//	    │           └──────► paused  ──► starting      an operator's wish
//	    └──────────────────► stopped                   it is another instance's now
//
// # Trust
//
// It trusts that EXEC is atomic, that nobody but this package writes the keys of names.go, and that
// handlers have no other effects than those on their Tx: a handler runs again when its transaction
// did not commit. It trusts no clock.
//
// # Failure
//
// Redis does not roll back. If a command of a handler fails inside EXEC (WRONGTYPE), the rest of
// the transaction stands and the position has moved: the record becomes a dead letter with the
// reason partial. If the process dies, or the reply to EXEC is lost, before the replies were seen,
// nobody knows of it. Config.CheckTypes closes that for types, at a price.
//
// Dead letters and Redis are two systems. A dead letter is confirmed by Kafka before the position
// passes its record, and its key is the record's place, so that a repetition after a crash is the
// same one in the compacted topic.
package inbox
