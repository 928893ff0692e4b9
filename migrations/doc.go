// Package migrations creates and checks what an outbox consists of: on Redis the layout hash, a
// stream and a consumer group for each shard; on Kafka the positions topic and the dead-letter topic.
//
// # Promise
//
// The layout is data (layout.go) with numbered versions. [Migrator.Plan] compares it with what both
// servers have and lists what is missing and what stands in the way, [Migrator.Apply] carries a plan
// out, [Migrator.Status] tells which version is reached and what has drifted from it. Nothing is ever
// deleted or lowered: a migration creates what is missing, rewrites what a version changes, and records the
// version it reached.
//
// Applying is idempotent, safe when two do it at once and safe to kill at any moment: run it again and
// the end is the same.
//
// # States
//
//	no layout  --claim-->  version 0  --streams, groups-->  version 1  --topics-->  version 2  --positions-->  version 3
//
// The claim writes the format and the number of shards before anything else exists. It is a
// compare-and-set, so of two migrations with different numbers of shards one is refused before it has
// created a single stream. A version is recorded, again by compare-and-set, only when everything of it
// was seen to exist. Writers want version 1, relays version 3.
//
// A version that was reached can lose parts (a topic deleted, a group destroyed). Plan then lists
// them to be created again, without a change of version. Two parts are not, because they say how far
// a shard was delivered: the positions topic, which is created again only when told to
// (Config.RecreatePositions), and the consumer group of a stream that has had entries, which is the
// relay's to create at its position.
//
// # What it trusts
//
// Redis answers from masters: a client that reads from replicas may be shown a layout of a moment ago
// (a step is still harmless then, but a plan can list too much). Nobody deletes parts between the
// plan and the end of its application; what is deleted then shows in the next Status. Clocks are not
// trusted with anything: the time of creation is for people.
//
// # How it fails
//
// What is not known is refused and named, with what to do: a layout of a newer version, of another
// format or with another number of shards, a key of another type, a topic with the wrong partitions or
// clean-up policy, a Redis before 7.0, a Kafka without transactions. These are findings in the plan
// and make Apply return a [*RefusedError] before it has changed anything. A server that cannot be
// reached or does not allow a question is an error, never an assumption.
package migrations
