// Package relay moves the entries of an outbox from Redis Streams to Kafka.
//
// # Promise
//
// With ExactlyOnce, every entry that Redis retained becomes visible to read_committed consumers once, in the
// order of its shard, whatever crashes, pauses or is partitioned and however many relays run. With AtLeastOnce it
// becomes visible at least once; what is there twice carries the same id header. In both, an entry is trimmed only
// after Kafka has confirmed it, and an entry that cannot be delivered is in the dead-letter topic with its
// reason, or its shard has halted and says why.
//
// # Parts
//
// A Relay joins the Kafka consumer group of its outbox and is given shards. Each shard's stream is a
// source (stream.go) of package delivery, which takes the shard over in a lane, and carries the batches
// and positions of many shards in one transaction. A reader (reader.go, prepare.go) runs ahead from the
// committed position (handover.go). At-least-once delivery (atleastonce.go) lives by the stream's consumer
// group, and needs a lane only to take the group over. Housekeeping (housekeeping.go) follows at its own
// pace, and tracker.go knows the states.
//
// # States of a shard
//
//	starting ──► running ──► waiting ──► running        a server failed; tried again with backoff
//	    │           │  └───► halted  ──► running        the cause has gone, or an operator moved the position
//	    │           └──────► paused  ──► starting       an operator's wish
//	    └──────────────────► stopped                    another relay's shard now
//
// # What it trusts
//
// Kafka's transactions and fencing, for everything that counts. Redis, for keeping what it retains in the order of its IDs; that
// the entry at the position is still the one delivered is checked with every read. Not the group coordinator: a
// mistake in ownership costs throughput, never correctness. No clock: time decides when to trim and what to show.
//
// # How it fails
//
// An error of Redis ends a read, which begins again at the committed position, on the same seat. An error of
// Kafka ends the lane: it is never repaired, its shards are taken over anew, and a commit whose outcome is
// unknown is decided by the position that is found (docs/design.md, invariant 4).
package relay
