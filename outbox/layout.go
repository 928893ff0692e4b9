package outbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
)

// ErrNoLayout says that the outbox does not exist on this Redis: its layout hash is missing. Create
// it with "sluice migrate apply", or correct the outbox's name or the server's address.
var ErrNoLayout = errors.New("the outbox has no layout")

// The fields of the layout hash.
const (
	LayoutFieldVersion = "version"
	LayoutFieldFormat  = "format"
	LayoutFieldShards  = "shards"
	LayoutFieldCreated = "created" // Unix milliseconds
)

// maxShards bounds what a layout can make a writer allocate.
const maxShards = 1 << 16

// Layout describes an outbox: which numbered layout it has reached, in which format its entries are
// and over how many shards they spread.
type Layout struct {
	Version int       // 1 <= Version; what "sluice migrate status" shows
	Format  int       // 1 <= Format; FormatVersion is the one that this package writes
	Shards  int       // 1 <= Shards <= 65536
	Created time.Time // zero if the hash does not say
}

// LayoutError says that a layout exists, and why it cannot be used by this version of Sluice.
type LayoutError struct {
	Outbox string
	Reason string
}

func (e *LayoutError) Error() string {
	return fmt.Sprintf(
		"outbox %q: unknown layout (%s): %s; update this program if it is the older side, otherwise "+
			"run: sluice migrate apply",
		e.Outbox, names.LayoutKey(e.Outbox), e.Reason)
}

// ReadLayout reads the layout of an outbox. The error wraps ErrNoLayout if there is none, and is a
// *LayoutError if its fields are not what a layout has. A layout with a version or format that this
// package does not know is returned without an error: whether that matters depends on what the
// caller wants to do with it.
func ReadLayout(ctx context.Context, client redis.Cmdable, outbox string) (Layout, error) {
	if err := ValidateName(outbox); err != nil {
		return Layout{}, err
	}
	values, err := client.HMGet(ctx, names.LayoutKey(outbox), LayoutFieldVersion, LayoutFieldFormat,
		LayoutFieldShards, LayoutFieldCreated).Result()
	if err != nil {
		if redis.HasErrorPrefix(err, "WRONGTYPE") {
			return Layout{}, &LayoutError{Outbox: outbox, Reason: "the key is not a hash"}
		}
		return Layout{}, fmt.Errorf("read the layout of outbox %q: %w", outbox, refusal(err))
	}
	fields := make([]string, len(values))
	missing := 0
	for i, v := range values {
		if s, ok := v.(string); ok {
			fields[i] = s
		} else {
			missing++
		}
	}
	if missing == len(values) {
		return Layout{}, fmt.Errorf("%w: outbox %q, key %s: run: sluice migrate apply", ErrNoLayout,
			outbox, names.LayoutKey(outbox))
	}
	layout, err := parseLayout(fields[0], fields[1], fields[2], fields[3])
	if err != nil {
		return Layout{}, &LayoutError{Outbox: outbox, Reason: err.Error()}
	}
	return layout, nil
}

func parseLayout(version, format, shards, created string) (Layout, error) {
	var l Layout
	for _, f := range []struct {
		name, value string
		to          *int
		most        int
	}{
		{LayoutFieldVersion, version, &l.Version, 1 << 30},
		{LayoutFieldFormat, format, &l.Format, 1 << 30},
		{LayoutFieldShards, shards, &l.Shards, maxShards},
	} {
		n, err := strconv.Atoi(f.value)
		if err != nil || n < 1 || n > f.most {
			return Layout{}, fmt.Errorf("field %s is %q, want a number from 1 to %d", f.name, f.value,
				f.most)
		}
		*f.to = n
	}
	if created != "" {
		ms, err := strconv.ParseInt(created, 10, 64)
		if err != nil {
			return Layout{}, fmt.Errorf("field %s is %q, want Unix milliseconds", LayoutFieldCreated,
				created)
		}
		l.Created = time.UnixMilli(ms).UTC()
	}
	return l, nil
}

// writable reports whether this package can write to the layout. The format is the writer's
// contract; a later version of the layout with the same format changes nothing for it.
func (l Layout) writable(outbox string) error {
	if l.Format != FormatVersion {
		return &LayoutError{
			Outbox: outbox,
			Reason: fmt.Sprintf("entry format %d, this program writes format %d", l.Format, FormatVersion),
		}
	}
	return nil
}
