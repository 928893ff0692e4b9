// Package migrations creates and checks what an outbox consists of: on Redis the layout hash, a
// stream and a consumer group for each shard; on Kafka the positions topic and the dead-letter
// topic.
//
// # Promise
//
// The layout is data (layout.go) with numbered versions. [Migrator.Plan] compares it with what both
// servers have and lists what is missing and what is in the way. [Migrator.Apply] carries a plan
// out. [Migrator.Status] says which version is reached and what has drifted from it. Nothing is
// ever deleted or lowered: a migration creates what is missing, rewrites what a version changes,
// and records the version it reached.
//
// Applying is idempotent. Two may do it at once, and it may be killed at any moment: run it again
// and the end is the same.
//
// # States
//
//	no layout  --claim-->  version 0  --streams, groups-->  version 1  --topics-->  version 2
//	version 2  --positions-->  version 3
//
// The claim writes the format and the number of shards before anything else exists. It is a
// compare-and-set, so of two migrations with different numbers of shards one is refused before it
// has created a single stream. A version is recorded, again by compare-and-set, only when
// everything of it was seen to exist. Writers want version 1, relays version 3.
//
// A version that was reached can lose parts (a topic deleted, a group destroyed). Plan then lists
// them to be created again, without a change of version. Two parts are not created again, because
// they say how far a shard was delivered. The positions topic is created again only if
// Config.RecreatePositions says so. The consumer group of a stream that has had entries is for the
// relay to create, at its position.
//
// # What it trusts
//
// Redis answers from masters. A client that reads from replicas may see the layout of a moment ago:
// steps are harmless then, but a plan can list too much. Nobody deletes parts between the plan and
// the end of its application; what is deleted then shows in the next Status. No clock is trusted:
// the time of creation is for people.
//
// # How it fails
//
// What is not known is refused and named, with what to do: a layout of a newer version, of another
// format or with another number of shards, a key of another type, a topic with the wrong partitions
// or clean-up policy, a Redis before 7.0, a Kafka without transactions. These are findings in the
// plan and make Apply return a [*RefusedError] before it has changed anything. A server that cannot
// be reached or does not allow a question is an error, never an assumption.
package migrations
