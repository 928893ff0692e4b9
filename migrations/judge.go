package migrations

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// This file decides from the observation alone what is fine, what is missing and what is in the
// way. It says what to do about the latter.

// judgement is what a part of the layout is found to be: fine, or exactly one of missing, wrong and
// others.
type judgement struct {
	fine    bool
	missing Kind     // the part is missing and can be created
	lost    bool     // the missing part is the positions topic
	wrong   *Finding // what is in the way
	others  *Finding // the part is missing and not a migration's to create
}

// judge compares one part with what the servers have. reached says that the layout version of the
// part was recorded before, so that its parts once existed.
func (cfg Config) judge(p part, o observed, reached bool) judgement {
	switch p.kind {
	case KindLayout:
		if !o.layout.exists {
			return judgement{missing: KindLayout}
		}
		return judgement{fine: true}
	case KindTopic:
		t, exists := o.topics[p.name]
		if !exists {
			return judgement{missing: KindTopic, lost: reached && p.topic.positions}
		}
		if f := cfg.checkTopic(p, t, reached); f != nil {
			return judgement{wrong: f}
		}
		return judgement{fine: true}
	default:
		return judgeStream(p, o.streams[p.shard], reached)
	}
}

// judgeStream judges a shard's stream and its group. A lost group is created only while the stream
// has not had an entry, or before the layout existed. Afterwards the group held how far the shard
// was delivered, or in exactly-once delivery shows it: a group at 0 would make an at-least-once
// relay, which stops without its group, deliver everything that is retained a second time.
func judgeStream(p part, s streamState, reached bool) judgement {
	switch {
	case s.kind == "none":
		return judgement{missing: KindStream}
	case s.kind != "stream":
		return judgement{wrong: &Finding{
			Problem: WrongType, Name: p.name,
			Detail: fmt.Sprintf("is a %s, not a stream", s.kind),
			Fix: "another program uses this key: rename its key, or give the outbox another name or " +
				"Redis database",
		}}
	case !s.group && reached && s.used:
		return judgement{others: &Finding{
			Problem: Missing, Name: p.name,
			Detail: "has no consumer group " + names.ConsumerGroup,
			Fix: "with exactly-once delivery nothing: a relay that runs creates it at its position; " +
				"at-least-once delivery has lost its " +
				"position with it: 'sluice resume --shard N --after ENTRY' with the last entry that is in " +
				"Kafka",
		}}
	case !s.group:
		return judgement{missing: KindGroup}
	}
	return judgement{fine: true}
}

// unknown returns why a recorded layout cannot be worked on by this build with this configuration,
// or nil. Nothing else is looked at then: what the layout's parts should be is not known.
func (cfg Config) unknown(l layoutState) *Finding {
	f := Finding{Problem: l.fault, Name: names.LayoutKey(cfg.Outbox)}
	switch {
	case !l.exists:
		return nil
	case l.fault == WrongType:
		f.Detail = l.detail
		f.Fix = "another program uses this key: rename its key, or give the outbox another name or " +
			"Redis database"
	case l.fault != "":
		f.Detail = l.detail
		f.Fix = "restore the hash from a copy, or set the field by hand to what the outbox was " +
			"created with"
	case l.version > Newest:
		f.Problem = NewerVersion
		f.Detail = fmt.Sprintf("is at layout version %d; this build knows versions up to %d", l.version,
			Newest)
		f.Fix = "use the version of sluice that made it, or a newer one"
	case l.format != outbox.FormatVersion:
		f.Problem = OtherFormat
		f.Detail = fmt.Sprintf("has entries of wire format %d; this build knows format %d", l.format,
			outbox.FormatVersion)
		f.Fix = "use a version of sluice that knows that format"
	case l.shards != cfg.Shards:
		f.Problem = OtherShards
		f.Detail = fmt.Sprintf("has %s, the configuration says %d", count(l.shards, "shard"), cfg.Shards)
		f.Fix = fmt.Sprintf(
			"set shards to %d; the number of shards of an existing outbox cannot be changed, because the "+
				"events "+
				"of a key would then wait in two streams without an order between them: for another number "+
				"create an outbox "+
				"with another name and let its writers move over when this one is drained", l.shards)
	default:
		return nil
	}
	return &f
}

// checkTopic returns why a topic cannot serve as part p, or nil. Settings beyond those that
// delivery rests on are the operator's to choose.
func (cfg Config) checkTopic(p part, t topicState, reached bool) *Finding {
	f := Finding{Name: p.name}
	switch {
	case p.topic.positions && t.partitions != p.topic.partitions:
		f.Problem = WrongPartitions
		f.Detail = fmt.Sprintf("has %s, want %d: the partition is the shard",
			count(t.partitions, "partition"), p.topic.partitions)
		f.Fix = "it was not created by a migration, perhaps by automatic creation: if nothing else " +
			"uses it, delete it and run this again"
		if reached {
			f.Fix = "do not delete it while it holds the positions: stop the relays, note each shard's " +
				"position, delete the topic, " +
				"create it again with 'sluice migrate apply --recreate-positions' and give each shard its " +
				"position back with " +
				"'sluice resume --shard N --after ENTRY'"
		}
	case t.partitions < p.topic.partitions:
		f.Problem = WrongPartitions
		f.Detail = fmt.Sprintf("has %s, want at least %d, one for each shard",
			count(t.partitions, "partition"), p.topic.partitions)
		f.Fix = fmt.Sprintf(
			"add partitions while it is empty (kafka-topics.sh --alter --topic %s --partitions %d); "+
				"if it holds dead letters, replay or drop them first", p.name, p.topic.partitions)
	case !compactOnly(t.policy):
		f.Problem = WrongPolicy
		f.Detail = fmt.Sprintf("has cleanup.policy=%s, want compact: ", t.policy)
		if p.topic.positions {
			f.Detail += "Kafka would delete the position of an idle shard"
		} else {
			f.Detail += "Kafka would delete dead letters that nobody has dealt with"
		}
		f.Fix = fmt.Sprintf("kafka-configs.sh --alter --topic %s --add-config cleanup.policy=compact",
			p.name)
	case !p.topic.positions && t.maxMessage > 0 && t.maxMessage < deadLetterLeastMessage:
		f.Problem = SmallMessages
		f.Detail = fmt.Sprintf(
			"has max.message.bytes=%d, want at least %d: it would not accept a part of a large dead letter",
			t.maxMessage, deadLetterLeastMessage)
		f.Fix = fmt.Sprintf("kafka-configs.sh --alter --topic %s --add-config max.message.bytes=%d",
			p.name, deadLetterMaxMessage)
	default:
		return nil
	}
	return &f
}

// compactOnly reports whether a topic keeps the newest record of each key for ever.
// "compact,delete" does not.
func compactOnly(policy string) bool {
	policies := strings.FieldsFunc(policy, func(r rune) bool { return r == ',' || r == ' ' })
	return len(policies) > 0 && !slices.ContainsFunc(policies, func(p string) bool {
		return p != "compact"
	})
}

// nameInUse returns findings about the outbox as a whole before it has a layout: signs that its
// name is in use elsewhere, or was used here with other settings.
func (cfg Config) nameInUse(o observed) []Finding {
	if o.layout.exists {
		return nil
	}
	var found []Finding
	if o.beyond {
		found = append(found, Finding{
			Problem: OtherShards, Name: outbox.StreamKey(cfg.Outbox, cfg.Shards),
			Detail: fmt.Sprintf("exists, though the configuration says %s and there is no layout",
				count(cfg.Shards, "shard")),
			Fix: "the outbox had more shards and its layout hash was lost: set shards to the number of " +
				"its streams; " +
				"if they are leftovers of another outbox of that name, delete them",
		})
	}
	topic := names.PositionsTopic(cfg.Outbox)
	if o.topics[topic].records && !cfg.AdoptPositions {
		found = append(found, Finding{
			Problem: PositionsFound, Name: topic,
			Detail: "has records, though this Redis has no layout for the outbox",
			Fix: "if another Redis has an outbox of this name, choose another name: both would share " +
				"positions and stop each other; " +
				"if this Redis lost its data, run 'sluice migrate apply --adopt-positions': each shard then " +
				"halts until " +
				"'sluice resume' says where it goes on",
		})
	}
	return found
}
