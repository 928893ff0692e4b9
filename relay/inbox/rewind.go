package inbox

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// rewind makes dead letters and parked keys what they are when the position goes back: by a Redis
// that has lost its last writes, or by a reset. The letters of records that are about to take
// effect again are dropped; those that fail again are written again.
func (p *partition) rewind(ctx context.Context) error {
	letters, err := p.in.letters.read(ctx, func(*Letter) bool { return false })
	if err != nil {
		return err
	}
	var void []*Letter
	waiting := map[string]int64{} // letters that still wait, by key
	for _, l := range p.own(letters) {
		if l.Offset >= p.pos.Next {
			void = append(void, l)
		} else if k, ok := p.parked[l.Key]; ok && l.Parked && l.HasKey && l.Offset > k.Done {
			waiting[l.Key]++
		}
	}
	if len(void) > 0 {
		p.log.Warn("dead letters of records that take effect again are dropped", "letters", len(void))
	}
	if err := p.in.letters.drop(ctx, void); err != nil {
		return err
	}
	for key, k := range p.parked {
		if k.Last < p.pos.Next {
			continue
		}
		if k.First >= p.pos.Next {
			if err := p.free(ctx, key); err != nil {
				return err
			}
			continue
		}
		k.Last, k.Count = p.pos.Next-1, k.Applied+waiting[key]
		if err := p.note(ctx, func(pipe redis.Pipeliner) { p.setParked(ctx, pipe, key, k) }); err != nil {
			return err
		}
		p.parked[key] = k
	}
	return nil
}
