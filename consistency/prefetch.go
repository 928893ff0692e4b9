package consistency

import (
	"context"
	"errors"
)

// prefetch reads something piece by piece: while use works on one, read gets the next, so that
// neither the servers nor this process wait for each other. A gentle throttle has one after the
// other instead. read fills a piece, whose memory is used again, and says whether more follow.
// errStop from use ends the reading without an error.
func prefetch[T any](ctx context.Context, t *throttle,
	read func(context.Context, *T) (more bool, err error), use func(*T) error,
) error {
	if t.gentle() {
		return inTurn(ctx, t, read, use)
	}
	type filled struct {
		piece *T
		err   error
	}
	reading, stop := context.WithCancel(ctx)
	free, full := make(chan *T, 2), make(chan filled)
	free <- new(T)
	free <- new(T)
	go func() {
		defer close(full)
		for more := true; more; {
			var f filled
			select {
			case f.piece = <-free:
			case <-reading.Done():
				return
			}
			more, f.err = read(reading, f.piece)
			select {
			case full <- f:
			case <-reading.Done():
				return
			}
			more = more && f.err == nil
		}
	}()
	defer func() {
		stop()
		for range full { // until the reader has ended, which uses what belongs to the caller
		}
	}()
	for f := range full {
		err := f.err
		if err == nil {
			err = use(f.piece)
		}
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
		free <- f.piece
	}
	return ctx.Err()
}

func inTurn[T any](ctx context.Context, t *throttle,
	read func(context.Context, *T) (more bool, err error), use func(*T) error,
) error {
	piece := new(T)
	for more := true; more; {
		err := t.work(ctx, func() (err error) {
			if more, err = read(ctx, piece); err != nil {
				return err
			}
			return use(piece)
		})
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
