// Package deadletter reads the dead-letter topic, and lets its entries go again or for good.
//
// The topic is compacted. An entry that could not be delivered is the record with the key
// <outbox>/<shard>/<entry ID>, or several when it is large: the others have #1, #2 … after the
// key. The value is the entry's fields as Redis had them, the headers say why. A tombstone for each
// key ends the entry. Several outboxes may share one topic.
//
// Index reads what there is without keeping payloads; Load fetches one entry whole. Replay appends
// an entry to its stream again, in a transaction with a marker, and then writes the tombstones:
// whatever fails between the two, doing it again does not append twice while the marker lives. Two
// who replay one entry at once append it once.
//
// A replayed entry comes after everything that was appended since. The order of its key is not
// kept, and cannot be.
package deadletter
