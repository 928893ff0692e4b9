package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// markerTTL is how long a replay that was cut off between Redis and Kafka can be repeated without
// appending twice.
const markerTTL = 7 * 24 * time.Hour

// Edit changes the fields of an entry on its way back.
type Edit struct {
	Set   map[string]string
	Unset []string
}

// Replay is one letter prepared to be appended again.
type Replay struct {
	Letter *Letter
	Fields []Field
	// Shard is where it goes: the one of its key, which can be another one than it came from.
	Shard int
}

// settable are the fields of the wire format that can be set, in its order. "more" is not among
// them: it is about neighbours that a replayed entry does not have.
var settable = []string{
	outbox.FieldID, outbox.FieldAggregateType, outbox.FieldAggregateID, outbox.FieldType,
	outbox.FieldPayload, outbox.FieldHeaders,
	outbox.FieldTopic, outbox.FieldKey, outbox.FieldContentType, outbox.FieldTime, outbox.FieldVersion,
}

// Check refuses fields that the wire format does not have.
func (e Edit) Check() error {
	for name := range e.Set {
		if !slices.Contains(settable, name) {
			return fmt.Errorf("the wire format has no field %q to set: it has %s", name,
				strings.Join(settable, ", "))
		}
	}
	return nil
}

// Prepare gives the fields as they will be appended: edited, without "more", since the entry goes
// alone, and with the time that the event had by its entry ID, since it will get another.
func Prepare(l *Letter, fields []Field, shards int, edit Edit) (Replay, error) {
	if err := edit.Check(); err != nil {
		return Replay{}, err
	}
	r := Replay{Letter: l, Shard: l.Shard}
	done := map[string]bool{}
	for _, f := range fields {
		value, set := edit.Set[f.Name]
		switch {
		case f.Name == outbox.FieldMore, slices.Contains(edit.Unset, f.Name):
		case set && !done[f.Name]:
			r.Fields = append(r.Fields, Field{f.Name, []byte(value)})
			done[f.Name] = true
		case set: // a second field of that name is what was wrong with it
		default:
			r.Fields = append(r.Fields, f)
		}
	}
	for _, name := range settable {
		if value, set := edit.Set[name]; set && !done[name] {
			r.Fields = append(r.Fields, Field{name, []byte(value)})
		}
	}
	if _, has := get(r.Fields, outbox.FieldTime); !has &&
		!slices.Contains(edit.Unset, outbox.FieldTime) {
		r.Fields = append(r.Fields, Field{outbox.FieldTime, []byte(strconv.FormatUint(l.Entry.MS, 10))})
	}
	if key := partitionKey(r.Fields); key != "" && shards > 0 {
		r.Shard = outbox.Shard(key, shards)
	}
	if r.Shard >= shards {
		return Replay{},
			fmt.Errorf("dead letter %s: the outbox has %d shards: set its key or aggregateid so that it "+
				"can be placed", l.Ref(), shards)
	}
	if len(r.Fields) == 0 {
		return Replay{}, fmt.Errorf("dead letter %s has no fields", l.Ref())
	}
	return r, nil
}

func partitionKey(fields []Field) string {
	for _, name := range []string{outbox.FieldKey, outbox.FieldAggregateID} {
		if v, ok := get(fields, name); ok && len(v) > 0 {
			return string(v)
		}
	}
	return ""
}

// Result of one replay.
type Result struct {
	Ref   string `json:"entry"`
	Shard int    `json:"shard"`
	// New is the entry's new ID; empty if an earlier replay had appended it.
	New string `json:"new_entry,omitempty"`
}

// maxAttempts bounds how often the marker may be contested.
const maxAttempts = 5

// Send appends the entry in a transaction with its marker, and then drops the letter. After an
// error the same Replay can be sent again.
func (t *Topic) Send(ctx context.Context, client redis.UniversalClient, r Replay) (Result, error) {
	result := Result{Ref: r.Letter.Ref(), Shard: r.Shard}
	fail := func(err error) (Result, error) {
		return result, fmt.Errorf("dead letter %s: %w", r.Letter.Ref(), err)
	}
	stream := outbox.StreamKey(r.Letter.Outbox, r.Shard)
	// The source shard is part of the token: entry IDs are unique within one shard only.
	marker := outbox.MarkerKey(r.Letter.Outbox, r.Shard,
		"dlq-"+strconv.Itoa(r.Letter.Shard)+"-"+r.Letter.Entry.String())
	values := make([]any, 0, 2*len(r.Fields))
	for _, f := range r.Fields {
		values = append(values, f.Name, f.Value)
	}
	var err error
	for range maxAttempts {
		// While a slot moves, the Watch of a cluster client can return nil without having called its
		// function. That must not be taken for an entry that was appended before.
		ran := false
		err = client.Watch(ctx, func(tx *redis.Tx) error {
			ran = true
			switch _, err := tx.Get(ctx, marker).Result(); {
			case err == nil:
				return nil // appended before
			case !errors.Is(err, redis.Nil):
				return err
			}
			kind, err := tx.Type(ctx, stream).Result()
			if err != nil {
				return err
			}
			if kind != "stream" {
				return fmt.Errorf("%s is not a stream: run sluice migrate status", stream)
			}
			var added *redis.StringCmd
			_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
				added = p.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: values})
				p.Set(ctx, marker, "", markerTTL)
				return nil
			})
			// EXEC carries out what it can: the marker is set although the key was replaced since TYPE and
			// XADD was refused.
			if added.Err() != nil && !errors.Is(err, redis.TxFailedErr) && isReply(added.Err()) {
				return errors.Join(added.Err(), client.Del(ctx, marker).Err())
			}
			if err != nil {
				return err
			}
			result.New = added.Val()
			return nil
		}, marker)
		if err == nil && !ran {
			err = errors.New("the slot of the shard is moving")
		}
		if !errors.Is(err, redis.TxFailedErr) {
			break
		}
	}
	if err != nil {
		return fail(fmt.Errorf("redis: %w; it is still a dead letter: replay it again", err))
	}
	if err := t.Drop(ctx, r.Letter); err != nil {
		return fail(fmt.Errorf(
			"it was appended as %s, and is still listed: %w; replaying it again appends nothing and "+
				"drops it", result.New, err))
	}
	return result, nil
}

// isReply: the server answered with an error; nothing is unknown.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}
