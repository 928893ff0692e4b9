/*
 * Exactly-once delivery of one shard by several lanes, for Spin 6.5. lanes2.pml has two shards in a
 * lane. README.md beside this file tells the protocol step by step, lists what is checked, and says
 * what is not modelled. The script `check` runs everything.
 *
 * By hand, in a folder that has a copy of this file; the last line shows the way to an error:
 *   spin -o3 -a [-D...] lanes.pml
 *   gcc -O2 -w -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=3500 -o pan pan.c && ./pan -m400000 -n
 *   spin -t -p -g [the same -D...] lanes.pml
 *
 * Bounds
 *   -DNL=3 lanes (at most 4), -DNE=2 entries of the shard.
 * Surroundings
 *   -DCRASH      A lane may end at any step. Without it a lane may still never be scheduled again.
 *   -DNOTIMEOUT  The coordinator aborts nothing by itself.
 *   -DNORELEASE  No lane gives the shard up.
 *   -DRECLAIM    A lane that released the shard may claim it once more, under its old name.
 *   -DLATE       A fenced lane's records still reach a partition until the abort marker is there.
 *   -DMOVE       Lanes 0 and 1 belong to one relay. Lane 1 claims when lane 0 has released, and
 *                lane 0 claims again when lane 1 has released: the shard moves to a lane of its own
 *                and back. Further lanes belong to others and contend at any time. Without -DMOVE
 *                lanes claim whenever they like, which includes every such move.
 *   -DMORTAL     Lane 0 alone may end at any step.
 *   -DHEIR       The same, and lane 1 is made by the process of lane 0 when that died. A commit
 *                that lane 0 had sent may arrive after its death. Further lanes belong to other
 *                relays. Without -DHEIR every lane may be such an heir.
 * Variants that are as good
 *   -DNOIDS      No lane is fenced by the ids that stand at the last stable offset.
 *   -DIDSALL     While a barrier is waited for, a lane may be fenced by them though its record
 *                is after the own claim.
 *   -DBYANY      A waiting lane may fence any lane, whatever is at the last stable offset. So
 *                may one that was misled by a deposed leader.
 *   -DWAIT       A fence waits until the markers of the fenced transaction are written.
 *   -DHOLD       A lane commits on one id only when the markers of the other one are written.
 *   -DHOLD -DTURN, -DCOUNT  see README.md, "Rules for an id that is committing".
 *   -DEITHER     A lane may begin with either id. -DONEID: a lane has one id.
 *   -DFRESH      Reads always go to the last stable offset.
 *   -DNOSQUASH   Keep the whole history of the positions partition (squash() hides nothing).
 * Mutations: -DM_..., each of which has to fail. README.md has the table.
 *
 * What means what
 *   P/s is the partition of shard s in the positions topic. A record is (kind, value, transaction
 *   that is not marked yet). A read is any prefix up to the last stable offset that has the record
 *   waited for. That it may be shorter than up to the last stable offset is the answer of a deposed
 *   leader. Compaction of what is superseded within a prefix does not change what the prefix says,
 *   so it needs no step; M_CUT has the other case. EndTxn decides; markers are a later step. A
 *   paused lane, a late EndTxn, a lost reply: the lane takes its next step late or never. Consumers
 *   see the committed records of the data partition in the order of their offsets.
 */
#ifndef NL
#define NL 3
#endif
#ifndef NE
#define NE 2
#endif
#ifndef PL
#define PL 22           /* capacity of P/s, asserted */
#endif
#define DL 8            /* capacity of the unmarked tail of the data partition, asserted */
#ifdef NOTIMEOUT
#define TIMEOUT 0
#else
#define TIMEOUT 1
#endif
#ifdef CRASH
#define CR 1
#else
#define CR 0
#endif
#if defined(HEIR) || defined(MORTAL)
#define DIES (CR || me == 0)
#else
#define DIES CR
#endif
#ifdef NORELEASE
#define RELEASE 0
#else
#define RELEASE 1
#endif
#ifdef MOVE
#define MAYRELEASE (RELEASE && (me > 1 || more || me == 1))
#else
#define MAYRELEASE RELEASE
#endif
#ifdef LATE
#define AFTER 1
#else
#define AFTER 0
#endif

#define NT (2*NL)       /* transactional ids: lane x has 2x (a) and 2x+1 (b) */
/* states of an id's transaction */
#define NONE 0
#define OPEN 1
#define COMMIT 2        /* decided, markers not written yet */
#define ABORT 3
/* kinds of records of P/s */
#define POS 1
#define CLAIM 2
#define TOMB 3          /* tombstone of lane v's claim: a release or a withdrawal */
#define BAR 4           /* the last tombstone of a barrier */

bit  ep[NT];            /* the coordinator has bumped the epoch */
byte ts[NT];
byte pk[PL]; byte pv[PL]; byte pt[PL];  /* P/s: kind, value, 1 + transaction without markers */
byte plen; byte lso;                    /* end and last stable offset of P/s */
byte de[DL]; byte dt[DL]; byte dlen;    /* data partition: what is not visible yet */
byte delivered;                         /* and how many entries are visible */
byte fin[NL];           /* 1 owner with all sent, 2 dead, 3 released */
byte c[NL]; byte w[NL]; /* of a take-over: 1 + offset of its claim, of what a read must contain */
#ifdef MOVE
byte home;              /* the lane of the moving relay whose turn it is to claim */
#endif
#ifdef COUNT
byte n[NT];             /* commits of each id */
#endif
hidden byte i, j, k, m, q, lastp;

/* The record at j has moved to k. */
inline moved() {
	i = 0;
	do
	:: i < NL ->
		if :: c[i] == j+1 -> c[i] = k+1 :: else fi;
		if :: w[i] == j+1 -> w[i] = k+1 :: else fi;
		i++
	:: else -> break
	od
}

/* Takes out what no later read can tell: records superseded in the prefix that all reads
   contain. */
inline squash() {
#ifndef NOSQUASH
	m = lso; i = 0;
	do
	:: i < NL ->
		if
		:: c[i] ->
			if :: c[i] - 1 < m -> m = c[i] - 1 :: else fi
		:: else
		fi;
		i++
	:: else -> break
	od;
	/* j: reads, k: writes */
	j = 0; k = 0; q = plen;
	do
	:: j < q ->
		lastp = 0;      /* drop? */
		if
		:: j < m ->
			if
			:: pk[j] == TOMB || pk[j] == BAR -> lastp = 1
			:: pk[j] == POS ->
				i = j + 1;
				do :: i < m && pk[i] != POS -> i++ :: else -> break od;
				if :: i < m -> lastp = 1 :: else fi
			:: pk[j] == CLAIM ->
				i = j + 1;
				do
				:: i < m && !((pk[i] == TOMB || pk[i] == CLAIM) && pv[i] == pv[j]) -> i++
				:: else -> break
				od;
				if :: i < m -> lastp = 1 :: else fi
			fi
		:: else
		fi;
		if
		:: lastp
		:: else -> pk[k] = pk[j]; pv[k] = pv[j]; pt[k] = pt[j]; moved(); k++
		fi;
		j++
	:: else -> break
	od;
	lso = lso - (plen - k); plen = k;
	do
	:: k < q -> pk[k] = 0; pv[k] = 0; pt[k] = 0; k++
	:: else -> break
	od;
#endif
	i = 0; j = 0; k = 0; m = 0; q = 0; lastp = 0
}

/* The markers of transaction t are written. */
inline markers(t) {
	d_step {
		/* P/s */
		j = 0; k = 0; q = plen;
		do
		:: j < q ->
			if
			:: pt[j] == t+1 && ts[t] == ABORT ->
				i = 0;
				do
				:: i < NL ->
					if :: c[i] == j+1 -> c[i] = 0 :: else fi;
					if :: w[i] == j+1 -> w[i] = 0 :: else fi;
					i++
				:: else -> break
				od
			:: else ->
				pk[k] = pk[j]; pv[k] = pv[j];
				if :: pt[j] == t+1 -> pt[k] = 0 :: else -> pt[k] = pt[j] fi;
				moved(); k++
			fi;
			j++
		:: else -> break
		od;
		plen = k;
		do :: k < q -> pk[k] = 0; pv[k] = 0; pt[k] = 0; k++ :: else -> break od;
		lso = 0;
		do :: lso < plen && pt[lso] == 0 -> lso++ :: else -> break od;
		/* data */
		j = 0; k = 0; q = dlen;
		do
		:: j < q ->
			if
			:: dt[j] == t+1 && ts[t] == ABORT
			:: else ->
				de[k] = de[j];
				if :: dt[j] == t+1 -> dt[k] = 0 :: else -> dt[k] = dt[j] fi;
				k++
			fi;
			j++
		:: else -> break
		od;
		dlen = k;
		do :: k < q -> de[k] = 0; dt[k] = 0; k++ :: else -> break od;
		/* what consumers see: exactly 1, 2, 3, ... */
		do
		:: dlen > 0 && dt[0] == 0 ->
			assert(de[0] == delivered + 1);
			delivered++;
			j = 0;
			do
			:: j + 1 < dlen -> de[j] = de[j+1]; dt[j] = dt[j+1]; j++
			:: else -> break
			od;
			dlen--; de[dlen] = 0; dt[dlen] = 0
		:: else -> break
		od;
		/* committed positions never go back */
		j = 0; lastp = 0;
		do
		:: j < plen ->
			if
			:: pk[j] == POS && pt[j] == 0 -> assert(pv[j] >= lastp); lastp = pv[j]
			:: else
			fi;
			j++
		:: else -> break
		od;
		ts[t] = NONE;
		squash()
	}
}

#define BROKER(t) \
	:: atomic { ts[t] >= COMMIT -> markers(t) } \
	:: atomic { TIMEOUT && ts[t] == OPEN -> ep[t] = 1; ts[t] = ABORT }

proctype Broker() {
end:	do
	BROKER(0) BROKER(1) BROKER(2) BROKER(3)
#if NL > 2
	BROKER(4) BROKER(5)
#endif
#if NL > 3
	BROKER(6) BROKER(7)
#endif
	od
}

#define TX (me*2+turn)
#define BIT(t) (1 << (t))

/* Whether the broker takes a record of the lane. The first record opens a transaction; one is
   refused with an old epoch, and waits while the id's last markers are written. */
#define TAKES (!ep[TX] && ts[TX] <= OPEN)
#define TAKESLATE (AFTER && ep[TX] && ts[TX] == ABORT)

/* Produces one record of P/s. */
inline put(kind, v) {
	atomic {
		if
		:: ep[TX] -> goto dead
		:: TAKES || TAKESLATE ->
			d_step {
				assert(plen < PL);
				pk[plen] = kind; pv[plen] = v; pt[plen] = TX+1; plen++;
				if
				:: kind == CLAIM && c[me] == 0 -> c[me] = plen; w[me] = plen
				:: kind == CLAIM || kind == BAR -> w[me] = plen
				:: else
				fi;
				if :: ts[TX] == NONE -> ts[TX] = OPEN :: else fi
			}
		:: DIES -> goto dead
		fi
	}
}
/* Produces one entry. */
inline data(e1) {
	atomic {
		if
		:: ep[TX] -> goto dead
		:: TAKES || TAKESLATE ->
			d_step {
				assert(dlen < DL);
				de[dlen] = e1; dt[dlen] = TX+1; dlen++;
				if :: ts[TX] == NONE -> ts[TX] = OPEN :: else fi
			}
		:: DIES -> goto dead
		fi
	}
}

#ifdef HOLD
#define MAYCOMMIT (!ep[TX] && ts[me*2+1-turn] == NONE)
#else
#define MAYCOMMIT (!ep[TX])
#endif
inline decide() {
	assert(ts[TX] == OPEN); ts[TX] = COMMIT;
#ifdef COUNT
	n[TX]++;
#endif
#ifdef ONEID
	skip
#else
	turn = 1 - turn
#endif
}
/* EndTxn: decides. That the lane hears it is the next step; a lane that does not is one that takes
   no next step. A late EndTxn of a paused lane is this step taken late. */
inline commit() {
	atomic {
		if
		:: ep[TX] -> goto dead
		:: MAYCOMMIT -> decide()
#ifdef HEIR
		:: me == 0 -> fin[me] = 2; goto late
#endif
		:: DIES -> goto dead
		fi
	}
}

/*
 * Fencing. The lane-local mask fen has the ids of others that it need not fence any more. A lane is
 * fenced when both its bits are set.
 *
 * One look at an id is InitProducerID by somebody else. In state NONE it bumps the epoch and that
 * is that. In state OPEN it bumps the epoch and aborts; and because its lane cannot pass over a
 * transaction that did not commit (turns), the lane is dead and needs no look at its other id. The
 * same goes for an id that is seen aborting, whoever did it: a lane never aborts by itself. In
 * state COMMIT it does nothing, and is tried again.
 */
#define BOTH(t) (3 << ((t) & ~1))
#if defined(M_NOB)
#define FENCED(x) ((fen >> (2*(x))) & 1)
#elif defined(M_TURNFIRST)
#define FENCED(x) ((((fen | seen) >> (2*(x))) & 3) == 3 && ((fen >> (2*(x))) & 3) != 0)
#else
#define FENCED(x) (((fen >> (2*(x))) & 3) == 3)
#endif

#if defined(WAIT)
#define CANLOOK(t) (!(fen & BIT(t)) && ts[t] <= OPEN)
#else
#define CANLOOK(t) (!(fen & BIT(t)) && ts[t] != COMMIT)
#endif
inline look(t) {
	d_step {
		if
#if defined(WAIT)
		:: ts[t] == OPEN -> ep[t] = 1; ts[t] = ABORT
		:: ts[t] == NONE -> ep[t] = 1; fen = fen | BIT(t)
#else
		:: ts[t] == OPEN -> ep[t] = 1; ts[t] = ABORT; fen = fen | BOTH(t)
		:: ts[t] == ABORT -> fen = fen | BOTH(t)
		:: ts[t] == NONE -> ep[t] = 1; fen = fen | BIT(t)
#endif
		fi
	}
}

/* What an id in state COMMIT may count for. */
#if defined(TURN)
#define COMMITTING(t) \
	:: atomic { ts[t] == COMMIT && !(fen & BIT(t)) && (fen & BIT((t)^1)) -> fen = fen | BIT(t) }
#elif defined(M_TURNFIRST)
#define COMMITTING(t) \
	:: atomic { ts[t] == COMMIT && !((fen | seen) & BIT(t)) -> seen = seen | BIT(t) }
#elif defined(COUNT)
/* sn: 1 + the commits of the id when it was last seen committing. It may be an old answer. When b
   is bumped, n[b] is final: a cannot begin again before b commits once more. */
#define OWED(t) (n[(t)^1] + (((t) & 1) ^ 1))
#define COMMITTING(t) \
	:: atomic { ts[t] == COMMIT && !(fen & BIT(t)) && sn[(t)&1] != n[t]+1 -> sn[(t)&1] = n[t]+1 } \
	:: atomic { sn[(t)&1] && !(fen & BIT(t)) && (fen & BIT((t)^1)) && sn[(t)&1] == OWED(t)+1 -> \
		fen = fen | BIT(t) }
#else
#define COMMITTING(t)
#endif

inline fence(l) {
#ifdef M_HEIRTRUST
	if :: me == 1 && l == 0 -> fen = fen | 3 :: else fi;
#endif
	do
	:: atomic { FENCED(l) -> break }
	:: atomic { !FENCED(l) && CANLOOK(l*2) -> look(l*2) }
	:: atomic { !FENCED(l) && CANLOOK(l*2+1) -> look(l*2+1) }
	COMMITTING(l*2)
	COMMITTING(l*2+1)
	:: DIES -> goto dead
	od
#ifdef COUNT
	;
	atomic { sn[0] = 0; sn[1] = 0 }
#endif
}

/*
 * Fencing by the ids of the record at the last stable offset, while a read is waited for. That
 * record names its lane. If it is before the own claim, and its transaction is not decided, its
 * id is looked at. One look is enough, see above. A decided transaction is left alone: its markers
 * will come, and its lane may be a neighbour that has just released the shard.
 */
#define STAND (pt[lso] - 1)
#if defined(IDSALL)
#define BEFORE (lso < w[me] - 1)
#else
#define BEFORE (lso < c[me] - 1)
#endif
#define STANDS (c[me] && w[me] > lso && lso < plen && pt[lso] && BEFORE && (STAND >> 1) != me)
#define ANY(t) \
	:: atomic { ((t) >> 1) != me && !FENCED((t) >> 1) && CANLOOK(t) -> look(t) }
#if defined(NOIDS)
#define BYIDS
#elif defined(BYANY)
#if NL > 2
#define BYIDS ANY(0) ANY(1) ANY(2) ANY(3) ANY(4) ANY(5)
#else
#define BYIDS ANY(0) ANY(1) ANY(2) ANY(3)
#endif
#elif defined(M_IDSONE)
/* The transaction may have ended between the answer and the look. */
#define BYIDS \
	:: atomic { STANDS && x == 0 -> x = pt[lso] } \
	:: atomic { x != 0 && CANLOOK(x-1) -> x--; look(x); fen = fen | BOTH(x); x = 0 }
#elif defined(M_IDSDECIDED)
/* Looks at both ids, whatever state the one at the last stable offset is in. */
#define ATLSO (STAND & ~1)
#define BYIDS \
	:: atomic { STANDS && !FENCED(STAND >> 1) && CANLOOK(ATLSO) -> e = ATLSO; look(e); e = 0 } \
	:: atomic { STANDS && !FENCED(STAND >> 1) && CANLOOK(ATLSO+1) -> e = ATLSO+1; look(e); e = 0 }
#else
#define BYIDS \
	:: atomic { STANDS && !(fen & BIT(STAND)) && (ts[STAND] == OPEN || ts[STAND] == ABORT) -> \
		e = STAND; look(e); e = 0 }
#endif

/* What the first e records of P/s say: todo := lanes with a live claim before the offset own, pos
   := the position. */
inline fold(e, own) {
	d_step {
		todo = 0; pos = 0; j = 0;
		do
		:: j < e ->
			if
			:: pk[j] == CLAIM ->
#ifdef M_ONEKEY
				if
				:: pv[j] == me -> skip
				:: else -> if :: j < own -> todo = (1 << pv[j]) :: else fi
				fi
#else
				if
				:: pv[j] == me
#ifdef M_FENCEALL
				:: else -> todo = todo | (1 << pv[j])
#else
				:: pv[j] != me && j < own -> todo = todo | (1 << pv[j])
				:: else
#endif
				fi
#endif
			:: pk[j] == TOMB -> todo = todo & ~(1 << pv[j])
			:: pk[j] == POS -> pos = pv[j]
			:: else
			fi;
			j++
		:: else -> break
		od;
		j = 0
	}
}

#ifdef M_CUT
/* A read that ends at an offset chosen beforehand, of a log out of which the cleaner has taken the
   claims that are withdrawn after that offset. */
inline cut(e) {
	d_step {
		j = e;
		do
		:: j < lso -> if :: pk[j] == TOMB -> todo = todo & ~(1 << pv[j]) :: else fi; j++
		:: else -> break
		od;
		j = 0
	}
}
#endif

/* e := how many records a read has: at least lo, at most those before the last stable offset. */
inline choose(lo) {
#ifdef FRESH
	e = lso
#else
	e = lo;
	do
	:: e < lso -> e++
	:: break
	od
#endif
}
#ifdef M_STALE
#define LEAST 0
#else
#define LEAST w[me]
#endif

/* The tombstones of a barrier: one for each lane in todo. */
inline withdraw() {
	x = 0;
	do
	:: atomic { x < NL && (todo & (1 << x)) -> skip }; put(TOMB, x); x++
	:: atomic { x < NL && !(todo & (1 << x)) -> x++ }
	:: atomic { x == NL -> x = 0; break }
	od
}

proctype Lane(byte me) {
	byte turn, pos, todo, fen, e, x;
#if defined(M_REINIT) || defined(M_REINIT2) || defined(RECLAIM) || defined(MOVE)
	bit more = 1;
#endif
#ifdef M_TURNFIRST
	byte seen;
#endif
#ifdef COUNT
	byte sn[2];
#endif

#ifdef EITHER
	if :: turn = 0 :: turn = 1 fi;
#endif
#ifdef HEIR
end_heir:
	me != 1 || fin[0] == 2;
#endif
#ifdef MOVE
	if
	:: me == 1 ->
end_move:	atomic { home == 1 -> fin[1] = 0; more = 0 }
	:: else
	fi;
#endif
claim:
	/* 1. claim */
	put(CLAIM, me);
	commit();
	/* 2. read */
	do
	:: atomic { w[me] && w[me] <= lso ->
		choose(LEAST);
		fold(e, w[me]-1);
#ifdef M_CUT
		if :: cut(e) :: skip fi;
#endif
#ifdef M_IDSNOBARRIER
		x = 0;
		do
		:: x < NL -> if :: FENCED(x) -> todo = todo & ~(1 << x) :: else fi; x++
		:: else -> x = 0; break
		od;
#endif
#ifdef M_NOREREAD
		todo = 0;
#endif
		e = 0; x = 0; break }
	BYIDS
	:: DIES -> goto dead
	od;
	if
	:: atomic { todo != 0 -> pos = 0 };
#ifdef M_EARLYTOMB
		withdraw();
		commit();
#endif
		/* 3. fence */
		x = 0;
		do
		:: atomic { x < NL && (todo & (1 << x)) -> skip }; fence(x); x++
		:: atomic { x < NL && !(todo & (1 << x)) -> x++ }
		:: atomic { x == NL -> x = 0; break }
		od;
#ifndef M_NOBARRIER
		/* 4. barrier */
#ifndef M_EARLYTOMB
		withdraw();
#endif
		put(BAR, me);
		commit();
#endif
		/* 5. read */
		do
		:: atomic { w[me] && w[me] <= lso ->
			choose(LEAST);
			fold(e, 0); e = 0; x = 0; todo = 0; break }
		BYIDS
		:: DIES -> goto dead
		od
	:: todo == 0
	fi;
	atomic { c[me] = 0; w[me] = 0; fen = 0; d_step { squash() } };
#ifdef M_TURNFIRST
	seen = 0;
#endif
own:
	do
	:: atomic { pos < NE -> e = pos };
		do
		:: atomic { e < NE -> skip }; data(e+1); e++
		:: e > pos -> break
		od;
#ifdef M_TOMBFIRST
		if :: put(TOMB, me); put(POS, e); commit(); goto released :: skip fi;
#endif
		put(POS, e);
		if
#ifdef M_PIPE
		:: atomic { if :: ep[TX] :: !ep[TX] -> ts[TX] = COMMIT fi; turn = 1 - turn };
			atomic { pos = e; e = 0 }
#else
		:: commit(); atomic { pos = e; e = 0 }
#endif
		:: MAYRELEASE -> put(TOMB, me); commit(); goto released
		fi
#ifdef M_EARLYREL
	:: pos < NE -> put(TOMB, me); commit(); data(pos+1); put(POS, pos+1); commit(); goto released
#endif
	:: MAYRELEASE -> put(TOMB, me); commit(); goto released
	:: pos == NE -> break
	od;
	atomic { fin[me] = 1; goto over };
released:
	atomic { pos = 0; e = 0; fin[me] = 3 };
#ifdef MOVE
	if
	:: me == 0 && more ->
		atomic { home = 1; more = 0; d_step { squash() } };
end_back:	atomic { home == 0 -> fin[0] = 0; goto claim }
	:: me == 1 -> home = 0
	:: else
	fi;
#elif defined(RECLAIM)
	if :: atomic { more -> more = 0; fin[me] = 0; d_step { squash() }; goto claim } :: skip fi;
#endif
	goto over;
#ifdef HEIR
late:	/* dead, and what it has sent may still arrive */
	if
	:: atomic { !ep[TX] -> decide() }
	:: skip
	fi;
#endif
dead:
#if defined(M_REINIT) || defined(M_REINIT2)
	if
	:: atomic { more -> more = 0; pos = 0; e = 0; x = 0; todo = 0; fen = 0; c[me] = 0; w[me] = 0 };
		atomic { ts[me*2] <= OPEN ->
			ep[me*2] = 0; if :: ts[me*2] == OPEN -> ts[me*2] = ABORT :: else fi };
		atomic { ts[me*2+1] <= OPEN ->
			ep[me*2+1] = 0; if :: ts[me*2+1] == OPEN -> ts[me*2+1] = ABORT :: else fi };
		ts[me*2] == NONE && ts[me*2+1] == NONE;
#ifdef M_REINIT2
		goto claim             /* claims again under its old name */
#else
		atomic { fold(lso, 0); todo = 0; goto own }
#endif
	:: skip
	fi;
#endif
	atomic { fin[me] = 2; c[me] = 0; w[me] = 0; goto over };
over:
	atomic {
		turn = 0; pos = 0; todo = 0; fen = 0; e = 0; x = 0;
#ifdef M_TURNFIRST
		seen = 0;
#endif
#ifdef COUNT
		sn[0] = 0; sn[1] = 0;
#endif
		d_step { squash() }
	}
}

/* At the end nothing is open, every lane has come to an end, and if one of them is the owner
   still, all has been delivered. */
proctype Monitor() {
	timeout;
	d_step {
		i = 0; k = 0;
		do
		:: i < NL ->
#ifdef HEIR
			assert(fin[i] != 0 || (i == 1 && fin[0] != 2));
#else
			assert(fin[i] != 0);
#endif
#if defined(MOVE) && NL == 2 && !CR && !TIMEOUT
			assert(fin[i] != 2);    /* lanes of one relay do not fence each other */
#endif
			if :: fin[i] == 1 -> k = 1 :: else fi;
			i++
		:: else -> break
		od;
#if TIMEOUT || !(CR || defined(MORTAL))
		i = 0;
		do :: i < NT -> assert(ts[i] == NONE); i++ :: else -> break od;
		assert(dlen == 0);
		assert(k == 0 || delivered == NE);
#endif
#if !CR && !defined(MORTAL) && !TIMEOUT && (!RELEASE || (defined(MOVE) && NL == 2))
		assert(delivered == NE);        /* nobody kills the lane that claimed last */
#endif
		i = 0; k = 0
	}
}

init {
	atomic {
#ifdef MOVE
		fin[1] = 3;
#endif
		run Broker();
		i = 0;
		do :: i < NL -> run Lane(i); i++ :: else -> i = 0; break od;
		run Monitor()
	}
}
