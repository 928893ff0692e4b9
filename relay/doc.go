// Package relay moves the entries of an outbox from Redis Streams to Kafka.
//
// # Promise
//
// With ExactlyOnce, every entry that Redis retained becomes visible to read_committed consumers
// once, in the order of its shard, whatever crashes, pauses or is partitioned and however many
// relays run. With AtLeastOnce it becomes visible at least once; what is there twice carries the
// same id header. In both, an entry is trimmed only after Kafka has confirmed it, and an entry that
// cannot be delivered is in the dead-letter topic with its reason, or its shard has halted and says
// why.
//
// # Parts
//
// A Relay joins the Kafka consumer group of its outbox and is given shards. Each shard's stream is
// a source (stream.go) of package delivery, which takes the shard over in a lane, and carries the
// batches and positions of many shards in one transaction. A reader (reader.go, prepare.go) reads
// ahead from the committed position (handover.go). At-least-once delivery (atleastonce.go) uses the
// stream's consumer group, and needs a lane only to take the group over. Housekeeping
// (housekeeping.go) follows at its own pace, and tracker.go has the states.
//
// # States of a shard
//
//	starting ──► running ──► waiting ──► running        a server failed; tried again with backoff
//	    │           │  └───► halted  ──► running        it was resumed, or the cause has gone
//	    │           └──────► paused  ──► starting       an operator's wish
//	    └──────────────────► stopped                    another relay's shard now
//
// # What it trusts
//
// It trusts Kafka's transactions and fencing for everything that counts, and Redis to keep what it
// retains in the order of its IDs. Every read checks that the entry at the position is still the
// one that was delivered. It does not trust the group coordinator: a mistake in ownership costs
// throughput, never correctness. It trusts no clock: time decides only when to trim and what to
// show.
//
// # How it fails
//
// An error of Redis ends a read, which begins again at the committed position, on the same seat. An
// error of Kafka ends the lane: it is never repaired, its shards are taken over anew, and a commit
// whose outcome is unknown is decided by the position that is found (docs/design.md, invariant 4).
package relay
