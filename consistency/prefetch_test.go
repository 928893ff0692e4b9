package consistency

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestPieces: whatever the throttle, pieces come in their order and whole, and a reading ends where
// it should.
func TestPieces(t *testing.T) {
	t.Parallel()
	broken, unfit := errors.New("broken"), errors.New("unfit")
	for _, c := range []struct {
		name            string
		readFails, stop int // at this piece; 0: never
		with            error
		want            error
		used            int
	}{
		{name: "to the end", used: 5},
		{name: "reading fails", readFails: 3, want: broken, used: 2},
		{name: "using fails", stop: 2, with: unfit, want: unfit, used: 2},
		{name: "enough", stop: 4, with: errStop, used: 4},
		{name: "enough, and the next fails", readFails: 3, stop: 2, with: errStop, used: 2},
	} {
		for _, p := range []*throttle{nil, newThrottle(0, 0), newThrottle(0, 0.9999)} {
			t.Run(fmt.Sprintf("%s, gentle %v", c.name, p.gentle()), func(t *testing.T) {
				type piece struct{ numbers []int }
				n := 0
				read := func(_ context.Context, x *piece) (bool, error) {
					n++
					if n == c.readFails {
						return true, broken
					}
					x.numbers = append(x.numbers[:0], n, n)
					return n < 5, nil
				}
				used := 0
				err := prefetch(t.Context(), p, read, func(x *piece) error {
					used++
					if !slices.Equal(x.numbers, []int{used, used}) {
						t.Errorf("piece %d is %v", used, x.numbers)
					}
					if used == c.stop {
						return c.with
					}
					return nil
				})
				if !errors.Is(err, c.want) || used != c.used {
					t.Errorf("%v after %d pieces, want %v after %d", err, used, c.want, c.used)
				}
			})
		}
	}
}

// TestPiecesEndWithTheirContext, and not as if they had been read to the end.
func TestPiecesEndWithTheirContext(t *testing.T) {
	t.Parallel()
	for _, p := range []*throttle{nil, newThrottle(0, 0.9999)} {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		err := prefetch(ctx, p, func(ctx context.Context, _ *int) (bool, error) {
			if n++; n == 3 {
				cancel()
			}
			return true, ctx.Err()
		}, func(*int) error { return nil })
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		cancel()
	}
}
