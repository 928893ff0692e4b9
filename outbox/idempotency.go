package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrAlreadyAppended says that Idempotent.Append was called although Idempotent.Done is true.
// Nothing was queued.
var ErrAlreadyAppended = errors.New("a transaction with this idempotency key was committed before")

// maxIdempotencyKey is the longest idempotency key, in bytes.
const maxIdempotencyKey = 200

// maxMarker bounds the value of a marker. IDs that do not fit are not remembered; that the key was
// used always is.
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

// Idempotent is an idempotency key in a transaction that the caller runs. Writer.Idempotent makes
// it.
type Idempotent struct {
	w      *Writer
	layout *knownLayout
	shard  *shard
	marker string
	done   bool
	ids    []string
}

// Idempotent watches an idempotency key on the caller's connection, conn, and looks whether a
// transaction of key's shard with that idempotency key was committed before. Call it between WATCH
// and MULTI:
//
//	err := client.Watch(ctx, func(conn *redis.Tx) error {
//		idem, err := writer.Idempotent(ctx, conn, order, request)
//		if err != nil || idem.Done() {
//			return err
//		}
//		_, err = conn.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
//			pipe.HIncrBy(ctx, stock, item, -1)
//			_, err := idem.Append(ctx, pipe, event)
//			return err
//		})
//		return err
//	}, stock)
//
// EXEC fails with redis.TxFailedErr if another transaction with the same idempotency key was
// committed meanwhile.
//
// On a cluster, conn must be a connection to the server of the shard's slot, as Watch gives it for
// keys in that slot. While the slot moves, ClusterClient.Watch can return nil without having called
// its function, so note that it ran. Writer.Tx with WithIdempotencyKey takes care of both.
func (w *Writer) Idempotent(ctx context.Context, conn *redis.Tx, key,
	idempotencyKey string,
) (*Idempotent, error) {
	if err := checkIdempotencyKey(idempotencyKey); err != nil {
		return nil, err
	}
	known, err := w.known(ctx)
	if err != nil {
		return nil, err
	}
	sh := known.shards[Shard(key, known.layout.Shards)]
	i := &Idempotent{
		w: w, layout: known, shard: sh,
		marker: MarkerKey(w.cfg.Outbox, sh.index, idempotencyKey),
	}
	if err := conn.Watch(ctx, i.marker).Err(); err != nil {
		return nil, refusal(err)
	}
	found, value, err := w.inspect(ctx, conn, sh, i.marker)
	if err != nil {
		return nil, err
	}
	i.done, i.ids = found, decodeMarker(value)
	return i, nil
}

// Done reports whether a transaction with this idempotency key was committed before: there is
// nothing left to do.
func (i *Idempotent) Done() bool { return i.done }

// Events are the IDs of the events of the earlier transaction, if Done and if they were not too
// many to remember.
func (i *Idempotent) Events() []string { return i.ids }

// Append is Writer.Append that also marks the idempotency key as used, in the same transaction.
func (i *Idempotent) Append(ctx context.Context, pipe redis.Pipeliner,
	events ...Event,
) (*Appended, error) {
	if i.done {
		return nil, ErrAlreadyAppended
	}
	return i.w.join(ctx, pipe, i.layout, i.shard, i.marker, events)
}
