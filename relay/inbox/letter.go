package inbox

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// letterChunk is the most bytes of one dead-letter record's value, as in relay's dead letters.
const letterChunk = 512 << 10

// letter is a record on its way to the dead letters.
type letter struct {
	record *kgo.Record
	reason Reason
	detail string
	parked bool
}

// Letter is a dead letter as it stands in the topic, without its value.
type Letter struct {
	Topic     string    `json:"topic"`
	TopicID   TopicID   `json:"topic_id"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Reason    Reason    `json:"reason"`
	Detail    string    `json:"detail,omitempty"`
	Key       string    `json:"key,omitempty"`
	HasKey    bool      `json:"has_key"`
	At        time.Time `json:"at"`
	Bytes     int       `json:"bytes"`
	// Parked: the key was parked when it was written, so a replay applies it in the order of its
	// key.
	Parked bool `json:"parked"`
	// Missing counts chunks that are not in the topic. Such a letter can only be dropped.
	Missing int `json:"missing_chunks,omitempty"`

	chunks int
	at     []chunkPlace
}

// chunkPlace is where a chunk stands. Its tombstone must go to the same partition.
type chunkPlace struct {
	number    int
	partition int32
	bytes     int
	value     []byte // kept only where the letter is to be applied
}

// Ref names a letter: <topic>/<partition>/<offset>.
func (l *Letter) Ref() string {
	return place(l.Topic, l.Partition) + "/" + strconv.FormatInt(l.Offset, 10)
}

// letterKey is the key of a letter's first chunk. The topic's ID keeps the letters of a topic that
// was made again apart.
func letterKey(inbox, topic string, id TopicID, partition int32, offset int64) string {
	return "inbox/" + inbox + "/" + topic + "/" + id.String() + "/" + strconv.Itoa(int(partition)) +
		"/" + strconv.FormatInt(offset, 10)
}

// records gives the records that keep a letter. The value is the record as a RESP array of bulk
// strings, names and values in turn, cut into chunks; the first chunk's key is letterKey, the
// others have #<n> behind it. A repetition has the same keys, so that a compacted topic keeps one.
func (l *letter) records(inbox, topic string, id TopicID) []*kgo.Record {
	value := encodeRecord(l.record)
	chunks := max(1, (len(value)+letterChunk-1)/letterChunk)
	key := letterKey(inbox, l.record.Topic, id, l.record.Partition, l.record.Offset)
	headers := []kgo.RecordHeader{
		{Key: "sluice-entry", Value: []byte(place(l.record.Topic, l.record.Partition) + "/" +
			strconv.FormatInt(l.record.Offset, 10))},
		{Key: "sluice-reason", Value: []byte(l.reason)},
		{Key: "sluice-detail", Value: []byte(oneLine(l.detail))},
		{Key: "sluice-topic", Value: []byte(l.record.Topic)},
	}
	if l.record.Key != nil {
		headers = append(headers, kgo.RecordHeader{Key: "sluice-key", Value: l.record.Key})
	}
	if l.parked {
		headers = append(headers, kgo.RecordHeader{Key: "sluice-parked", Value: []byte("1")})
	}
	if chunks > 1 {
		headers = append(headers, kgo.RecordHeader{
			Key:   "sluice-chunks",
			Value: []byte(strconv.Itoa(chunks)),
		})
	}
	records := make([]*kgo.Record, chunks)
	for i := range records {
		k := key
		if i > 0 {
			k += "#" + strconv.Itoa(i)
		}
		records[i] = &kgo.Record{
			Topic: topic, Key: []byte(k), Headers: headers,
			Value: value[min(i*letterChunk, len(value)):min((i+1)*letterChunk, len(value))],
		}
	}
	return records
}

// parseLetterKey is the inverse of letterKey, with the chunk's number.
func parseLetterKey(key []byte) (inbox string, l Letter, chunk int, ok bool) {
	name, number, chunked := strings.Cut(string(key), "#")
	if chunked {
		var err error
		if chunk, err = strconv.Atoi(number); err != nil || chunk < 1 {
			return "", l, 0, false
		}
	}
	parts := strings.Split(name, "/")
	if len(parts) != 6 || parts[0] != "inbox" || l.TopicID.UnmarshalText([]byte(parts[3])) != nil {
		return "", l, 0, false
	}
	partition, err1 := strconv.ParseInt(parts[4], 10, 32)
	offset, err2 := strconv.ParseInt(parts[5], 10, 64)
	if err1 != nil || err2 != nil || partition < 0 || offset < 0 {
		return "", l, 0, false
	}
	l.Topic, l.Partition, l.Offset = parts[2], int32(partition), offset
	return parts[1], l, chunk, letterKey(parts[1], l.Topic, l.TopicID, l.Partition, l.Offset) == name
}

// encodeRecord is a record as names and values in turn: topic, partition, offset, timestamp, then
// key and value unless they are null, then a header.<name> for each header.
func encodeRecord(r *kgo.Record) []byte {
	fields := [][]byte{
		[]byte("topic"), []byte(r.Topic), []byte("partition"),
		strconv.AppendInt(nil, int64(r.Partition), 10),
		[]byte("offset"), strconv.AppendInt(nil, r.Offset, 10), []byte("timestamp"),
		strconv.AppendInt(nil, r.Timestamp.UnixMilli(), 10),
	}
	if r.Key != nil {
		fields = append(fields, []byte("key"), r.Key)
	}
	if r.Value != nil {
		fields = append(fields, []byte("value"), r.Value)
	}
	for _, h := range r.Headers {
		fields = append(fields, []byte("header."+h.Key), h.Value)
	}
	var b []byte
	b = fmt.Appendf(b, "*%d\r\n", len(fields))
	for _, f := range fields {
		b = fmt.Appendf(b, "$%d\r\n", len(f))
		b = append(append(b, f...), "\r\n"...)
	}
	return b
}

// decodeRecord is the inverse of encodeRecord. What it cannot know is the leader epoch.
func decodeRecord(b []byte) (*kgo.Record, error) {
	n, rest, err := respLine(b, '*')
	if err == nil && n%2 != 0 {
		err = errShort
	}
	if err != nil {
		return nil, fmt.Errorf("the value of a dead letter is not a record: %w", err)
	}
	r := &kgo.Record{LeaderEpoch: -1}
	for i := 0; i < n; i += 2 {
		var name, value []byte
		if name, rest, err = respBulk(rest); err == nil {
			value, rest, err = respBulk(rest)
		}
		if err == nil {
			err = setField(r, string(name), value)
		}
		if err != nil {
			return nil, fmt.Errorf("the value of a dead letter is not a record: %w", err)
		}
	}
	if len(rest) > 0 || r.Topic == "" {
		return nil, errors.New("the value of a dead letter is not a record")
	}
	return r, nil
}

func setField(r *kgo.Record, name string, value []byte) error {
	number := func(bits int) (int64, error) { return strconv.ParseInt(string(value), 10, bits) }
	switch name {
	case "topic":
		r.Topic = string(value)
	case "key":
		r.Key = value
	case "value":
		r.Value = value
	case "partition", "offset", "timestamp":
		bits := 64
		if name == "partition" {
			bits = 32
		}
		n, err := number(bits)
		if err != nil {
			return err
		}
		switch name {
		case "partition":
			r.Partition = int32(n)
		case "offset":
			r.Offset = n
		default:
			r.Timestamp = time.UnixMilli(n)
		}
	default:
		header, ok := strings.CutPrefix(name, "header.")
		if !ok {
			return fmt.Errorf("unknown field %q", name)
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: header, Value: value})
	}
	return nil
}

var errShort = errors.New("it ends too early")

// respLine reads "*12\r\n".
func respLine(b []byte, kind byte) (n int, rest []byte, err error) {
	end := bytes.Index(b[:min(len(b), 24)], []byte("\r\n"))
	if end < 2 || b[0] != kind {
		return 0, nil, errShort
	}
	if n, err = strconv.Atoi(string(b[1:end])); err != nil || n < 0 {
		return 0, nil, fmt.Errorf("bad length %q", b[1:end])
	}
	return n, b[end+2:], nil
}

func respBulk(b []byte) (s, rest []byte, err error) {
	n, rest, err := respLine(b, '$')
	if err != nil {
		return nil, nil, err
	}
	if len(rest)-2 < n {
		return nil, nil, errShort
	}
	return rest[:n:n], rest[n+2:], nil
}
