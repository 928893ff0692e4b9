package rawreply

import (
	"bytes"
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// ErrTooLarge is returned for a reply that exceeds the limit. Its connection is closed, since what
// is left of the reply is not worth reading.
var ErrTooLarge = errors.New("reply is larger than asked for")

// Error is an error that Redis answered. go-redis hands over raw replies as they are, errors too.
type Error string

func (e Error) Error() string { return string(e) }

// RedisError marks the error as a reply, as go-redis does (redis.Error).
func (Error) RedisError() {}

// Client is a client of go-redis.
type Client interface {
	Process(ctx context.Context, cmd redis.Cmder) error
}

// Do sends a command and returns its reply of at most limit bytes, in the memory of into if that is
// large enough. firstKey is the position of the command's key in args, which a cluster client
// needs.
//
// An error that Redis answered is an [Error]. MOVED and ASK are such errors: go-redis does not
// follow them here.
func Do(ctx context.Context, client Client, into []byte, limit int, firstKey int8,
	args ...any,
) ([]byte, error) {
	b := buffer{b: into[:0], limit: limit}
	cmd := redis.NewRawWriteToCmd(ctx, &b, args...)
	cmd.SetFirstKeyPos(firstKey)
	if err := client.Process(ctx, cmd); err != nil && !(b.ended && errors.Is(err, errEnd)) {
		return nil, err
	}
	return b.b, answered(b.b)
}

// answered is the error that a raw reply consists of, if it does.
func answered(reply []byte) error {
	if len(reply) == 0 || reply[0] != '-' && reply[0] != '!' {
		return nil
	}
	line, rest, _ := bytes.Cut(reply[1:], []byte("\r\n"))
	if reply[0] == '!' { // RESP3: the length comes first
		line, _, _ = bytes.Cut(rest, []byte("\r\n"))
	}
	return Error(line)
}
