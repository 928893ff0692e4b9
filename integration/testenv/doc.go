// Package testenv sets up one outbox on real servers, lets relays run on it, and checks what came
// out at the other end.
//
// A [Env] is an outbox of its own, laid out by the migrations, with a topic of its own. Entries
// come into it through the outbox package beside a change of state ([Shop]), or as any other
// language would add them ([Env.Add]). Relays run in the process of the test ([Env.Run]) or as
// processes that can be killed and stopped ([Env.Spawn]).
//
// # What is compared
//
// The streams in Redis are the truth about what was committed: environments keep what was delivered
// ([Env.Entries]). What a read_committed consumer gets up to the last stable offset is the other
// side ([Env.Records]). [Compare] holds one against the other, entry by entry: lost, duplicated,
// altered, out of order, without an entry. [Env.Positions] is the history of each shard's position,
// which must never go back, never stand inside a group of entries of one MULTI/EXEC, and end at the
// last entry.
//
// Nothing here sleeps to synchronise: what has to be waited for is polled with a deadline.
package testenv
