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
// A Relay joins the Kafka consumer group of its outbox and is given shards (group.go). Each shard runs sessions
// (shard.go). A session of exactly-once delivery (exactlyonce.go) fences every earlier owner (producers.go), reads the
// committed position (positions.go, handover.go), and then a reader runs ahead (reader.go, prepare.go) of a sender, which
// puts what waits, and the new position, into one transaction after another. A session of at-least-once delivery
// (atleastonce.go) lives by the stream's consumer group. Housekeeping (housekeeping.go) follows at its own pace.
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
// No error is repaired in place. Whatever happened, the session ends, its clients are closed, and the next one fences, reads the
// position and reads Redis (docs/design.md, invariant 4). A commit whose outcome is unknown is decided by the
// position that is found.
package relay
