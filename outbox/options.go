package outbox

import "fmt"

// TxOption changes how Writer.Tx runs a transaction.
type TxOption func(*txOptions) error

// txOptions are what the options of one transaction add up to.
type txOptions struct {
	watch          []string
	idempotencyKey string // empty: none
	wait           Wait
}

// WithWatch names the keys that the function reads with Tx.Read. EXEC does nothing if one of them
// was changed after it was watched, and the function runs again, up to Config.Attempts times.
// Several WithWatch add up. It costs two more round trips.
func WithWatch(keys ...string) TxOption {
	return func(o *txOptions) error {
		o.watch = append(o.watch, keys...)
		return nil
	}
}

// WithIdempotencyKey names the transaction, in 1 to 200 bytes of UTF-8 without control characters.
// Of all transactions of one shard with one key only the first is committed; Redis remembers the
// key for Config.IdempotencyTTL. That makes a repetition safe, also after an error that wraps
// ErrUnknownOutcome, and lets the writer itself repeat what got no reply. It costs two more round
// trips.
func WithIdempotencyKey(key string) TxOption {
	return func(o *txOptions) error {
		o.idempotencyKey = key
		return checkIdempotencyKey(key)
	}
}

// WithWait replaces Config.Wait for this transaction; the zero Wait waits for nothing.
func WithWait(wait Wait) TxOption {
	return func(o *txOptions) (err error) {
		if o.wait, err = wait.withDefaults(); err != nil {
			return fmt.Errorf("outbox: WithWait: %w", err)
		}
		return nil
	}
}
