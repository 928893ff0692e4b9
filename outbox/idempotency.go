package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrAlreadyAppended says that Once.Append was called although Once.Done is true. Nothing was queued.
var ErrAlreadyAppended = errors.New("a transaction with this idempotency key was committed before")

// maxIdempotencyKey is the longest idempotency key, in bytes.
const maxIdempotencyKey = 200

// maxMarker bounds the value of a marker. IDs that do not fit are not remembered; that the key was used always is.
const maxMarker = 4 << 10

func checkIdempotencyKey(key string) error {
	if key == "" {
		return errors.New("idempotency key: is empty")
	}
	if err := checkText(key, maxIdempotencyKey, true); err != nil {
		return fmt.Errorf("idempotency key: %w", err)
	}
	return nil
}

// encodeMarker is the value of a marker: the IDs of the events, a line each.
func encodeMarker(ids []string) string {
	value := strings.Join(ids, "\n")
	if len(value) > maxMarker {
		return ""
	}
	return value
}

func decodeMarker(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, "\n")
}

// Once is an idempotency key in a transaction that the caller runs; Writer.Once makes it.
type Once struct {
	w      *Writer
	shape  *shape
	shard  *shard
	marker string
	done   bool
	ids    []string
}

// Once watches an idempotency key on the caller's connection, conn, and looks whether a transaction of key's shard with
// the same one was committed before. It belongs between WATCH and MULTI:
//
//	err := client.Watch(ctx, func(conn *redis.Tx) error {
//		once, err := writer.Once(ctx, conn, order, request)
//		if err != nil || once.Done() {
//			return err
//		}
//		_, err = conn.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
//			pipe.HIncrBy(ctx, stock, item, -1)
//			_, err := once.Append(ctx, pipe, event)
//			return err
//		})
//		return err
//	}, stock)
//
// The EXEC fails with redis.TxFailedErr if another transaction with the same key was committed meanwhile. On a cluster,
// conn must be a connection to the server of the shard's slot, as Watch gives it for keys in that slot; and while that slot
// moves, ClusterClient.Watch can return nil without having called its function, so note that it ran. TxWith takes care of both.
func (w *Writer) Once(ctx context.Context, conn *redis.Tx, key, idempotencyKey string) (*Once, error) {
	if err := checkIdempotencyKey(idempotencyKey); err != nil {
		return nil, err
	}
	known, err := w.known(ctx)
	if err != nil {
		return nil, err
	}
	sh := known.shards[Shard(key, known.layout.Shards)]
	o := &Once{w: w, shape: known, shard: sh, marker: MarkerKey(w.cfg.Outbox, sh.index, idempotencyKey)}
	if err := conn.Watch(ctx, o.marker).Err(); err != nil {
		return nil, refusal(err)
	}
	found, value, err := w.inspect(ctx, conn, sh, o.marker)
	if err != nil {
		return nil, err
	}
	o.done, o.ids = found, decodeMarker(value)
	return o, nil
}

// Done reports whether a transaction with this idempotency key was committed before: there is nothing left to do.
func (o *Once) Done() bool { return o.done }

// Events are the IDs of the events of the earlier transaction, if Done and if they were not too many to remember.
func (o *Once) Events() []string { return o.ids }

// Append is Writer.Append that also marks the idempotency key as used, in the same transaction.
func (o *Once) Append(ctx context.Context, pipe redis.Pipeliner, events ...Event) (*Appended, error) {
	if o.done {
		return nil, ErrAlreadyAppended
	}
	return o.w.join(ctx, pipe, o.shape, o.shard, o.marker, events)
}
