// Package outbox appends events to a transactional outbox on Redis, inside the transaction that
// changes the application's state. A relay carries them to Kafka.
//
//	writer, err := outbox.NewWriter(client, outbox.Config{Outbox: "orders"})
//	...
//	_, err = writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
//		tx.Queue().HSet(ctx, tx.StateKey("order:42"), "status", "placed")
//		return tx.Append(outbox.Event{
//			AggregateType: "order", AggregateID: "42", Type: "OrderPlaced", Payload: payload,
//		})
//	})
//
// # Promise
//
// An event is in the outbox if and only if the change of state that it belongs to was committed:
// both are in one MULTI/EXEC, and every reply to it is checked. Events of one key are in one
// stream, in the order in which they were committed.
//
// What cannot be written is refused before anything is sent: an event that Kafka would not take,
// events of several shards, state in another hash slot, a layout of another version, a stream's key
// that holds something else.
//
// # States
//
// A [Writer] reads the layout of the outbox with its first transaction, and again every
// Config.LayoutInterval. For every shard it remembers for Config.TypeCheckInterval that its key
// holds a stream. It holds no events: an event is either in Redis or in the caller's hands.
//
// A transaction ends in one of three ways, which [OutcomeOf] distinguishes:
//
//	Committed      no error
//	               *WaitError: in memory, but not confirmed as Wait asked
//	               *PartialError: some commands failed, see below
//	NotCommitted   any other error: nothing was written
//	Unknown        ErrUnknownOutcome: the reply to EXEC was lost
//
// # Trust
//
// The writer trusts that Redis runs EXEC as a whole, and that only writers of this format add to
// the streams. It trusts no wall clock: intervals are monotonic, entry IDs are the server's. It
// relies on go-redis to send a MULTI/EXEC again only if it could not be sent in full; Redis has run
// nothing of it then. Tests against real servers lose every request and every reply once to check
// that.
//
// # Failure
//
// A lost reply to EXEC leaves open whether the transaction was committed. With an idempotency key
// ([WithIdempotencyKey], [Idempotent]) the writer finds out by repeating it, and so can the caller
// within Config.IdempotencyTTL. Without one a repetition may append the event twice, so the writer
// does not repeat it.
//
// Redis does not roll back. If the key of a stream is replaced by another type after the writer
// last looked, the state is committed and the event is not: a [PartialError] says so. That window
// is a second by default. With a negative TypeCheckInterval it is the time between two requests of
// one transaction.
//
// Redis replicates asynchronously: a failover can lose what was committed, with or without [Wait].
//
// The format that other languages write is docs/wire-format.md; testdata/vectors.json has examples
// of it.
package outbox
