/*
 * Two shards in a lane, for Spin 6.5. lanes.pml has the words, the protocol for one shard and the
 * way to run this; README.md tells what is checked.
 *
 * One transaction carries claims, withdrawals, entries and positions of both shards, and its
 * markers come to the partitions of each shard by themselves. A lane believes that it owns any
 * subset of the shards. It takes them over together or one after the other; claims and tombstones
 * travel with the other shard's entries. It fences a lane once for both.
 *
 * Bounds
 *   -DNL=2 lanes (at most 4), -DNE=1 entries of each shard.
 * Surroundings
 *   -DCRASH, -DNOTIMEOUT, -DNORELEASE, -DLATE  as in lanes.pml.
 *   -DMOVE    Lane 0 of a relay has both shards. It releases shard 0 and keeps the other, lane 1 of
 *             the same relay claims what lane 0 has released, and gives it back in the same way.
 *             Lane 2, if there is one, belongs to another relay and contends for shard 0.
 *   -DLINGER  For -DNL=4 -DNOTIMEOUT -DNORELEASE. Relay r owns shard r and makes a second lane,
 *             r+2, when its first is dead. Each first lane begins with a claim left over in the
 *             other's shard. In every final state all is delivered: no relay needs a third lane.
 *             -DMORTAL: a first lane may end at any step, and what it has sent may arrive later.
 * Variants that are as good: -DNOIDS, -DIDSALL, -DWAIT, -DHOLD -DTURN, as in lanes.pml.
 * Mutations: -DM_..., each of which has to fail. README.md has the table.
 */
#ifndef NL
#define NL 2
#endif
#ifndef NE
#define NE 1
#endif
#define NS 2
#ifndef PL
#define PL 14           /* capacity of each partition, asserted */
#endif
#define DL 6
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
#ifdef MORTAL
#define DIES (CR || me < 2)
#else
#define DIES CR
#endif
#ifdef NORELEASE
#define RELEASE 0
#else
#define RELEASE 1
#endif
#ifdef LATE
#define AFTER 1
#else
#define AFTER 0
#endif
#ifdef MOVE
#define MAYRELEASE(s) (me < 2 && (s) == 0 && more)
/* Lane 0 waits until the shard that it lent is back or lane 1 has come to an end with it. */
#define MAYEND (me != 0 || bel == 3 || (away && (fin[1] == 1 || fin[1] == 2)))
#else
#define MAYRELEASE(s) 1
#define MAYEND 1
#endif
#define NT (2*NL)
#define NONE 0
#define OPEN 1
#define COMMIT 2
#define ABORT 3
#define POS 1
#define CLAIM 2
#define TOMB 3
#define BAR 4

bit  ep[NT];
byte ts[NT];
byte mk[NT];            /* shards whose partitions are in the transaction and lack its markers */
byte pk[NS*PL]; byte pv[NS*PL]; byte pt[NS*PL]; byte plen[NS]; byte lso[NS];
byte de[NS*DL]; byte dt[NS*DL]; byte dlen[NS]; byte delivered[NS];
byte fin[NL]; byte owns[NL];
byte c[NL*NS]; byte w[NL*NS];
#ifdef MOVE
bit away;               /* shard 0 is for lane 1 of the moving relay to claim, else for lane 0 */
#endif
hidden byte i, j, k, m, q, lastp;

inline moved(s) {
	i = 0;
	do
	:: i < NL ->
		if :: c[i*NS+s] == j+1 -> c[i*NS+s] = k+1 :: else fi;
		if :: w[i*NS+s] == j+1 -> w[i*NS+s] = k+1 :: else fi;
		i++
	:: else -> break
	od
}
inline squash(s) {
	m = lso[s]; i = 0;
	do
	:: i < NL ->
		if :: c[i*NS+s] && c[i*NS+s] - 1 < m -> m = c[i*NS+s] - 1 :: else fi;
		i++
	:: else -> break
	od;
	j = 0; k = 0; q = plen[s];
	do
	:: j < q ->
		lastp = 0;
		if
		:: j < m ->
			if
			:: pk[s*PL+j] == TOMB || pk[s*PL+j] == BAR -> lastp = 1
			:: pk[s*PL+j] == POS ->
				i = j + 1;
				do :: i < m && pk[s*PL+i] != POS -> i++ :: else -> break od;
				if :: i < m -> lastp = 1 :: else fi
			:: pk[s*PL+j] == CLAIM ->
				i = j + 1;
				do
				:: i < m && !((pk[s*PL+i] == TOMB || pk[s*PL+i] == CLAIM)
					&& pv[s*PL+i] == pv[s*PL+j]) -> i++
				:: else -> break
				od;
				if :: i < m -> lastp = 1 :: else fi
			fi
		:: else
		fi;
		if
		:: lastp
		:: else ->
			pk[s*PL+k] = pk[s*PL+j]; pv[s*PL+k] = pv[s*PL+j]; pt[s*PL+k] = pt[s*PL+j];
			moved(s); k++
		fi;
		j++
	:: else -> break
	od;
	lso[s] = lso[s] - (plen[s] - k); plen[s] = k;
	do :: k < q -> pk[s*PL+k] = 0; pv[s*PL+k] = 0; pt[s*PL+k] = 0; k++ :: else -> break od;
	i = 0; j = 0; k = 0; m = 0; q = 0; lastp = 0
}

/* The markers of transaction t are written to the partitions of shard s. */
inline markers(t, s) {
	d_step {
		j = 0; k = 0; q = plen[s];
		do
		:: j < q ->
			if
			:: pt[s*PL+j] == t+1 && ts[t] == ABORT ->
				i = 0;
				do
				:: i < NL ->
					if :: c[i*NS+s] == j+1 -> c[i*NS+s] = 0 :: else fi;
					if :: w[i*NS+s] == j+1 -> w[i*NS+s] = 0 :: else fi;
					i++
				:: else -> break
				od
			:: else ->
				pk[s*PL+k] = pk[s*PL+j]; pv[s*PL+k] = pv[s*PL+j];
				if :: pt[s*PL+j] == t+1 -> pt[s*PL+k] = 0 :: else -> pt[s*PL+k] = pt[s*PL+j] fi;
				moved(s); k++
			fi;
			j++
		:: else -> break
		od;
		plen[s] = k;
		do :: k < q -> pk[s*PL+k] = 0; pv[s*PL+k] = 0; pt[s*PL+k] = 0; k++ :: else -> break od;
		lso[s] = 0;
		do :: lso[s] < plen[s] && pt[s*PL+lso[s]] == 0 -> lso[s]++ :: else -> break od;
		j = 0; k = 0; q = dlen[s];
		do
		:: j < q ->
			if
			:: dt[s*DL+j] == t+1 && ts[t] == ABORT
			:: else ->
				de[s*DL+k] = de[s*DL+j];
				if :: dt[s*DL+j] == t+1 -> dt[s*DL+k] = 0 :: else -> dt[s*DL+k] = dt[s*DL+j] fi;
				k++
			fi;
			j++
		:: else -> break
		od;
		dlen[s] = k;
		do :: k < q -> de[s*DL+k] = 0; dt[s*DL+k] = 0; k++ :: else -> break od;
		/* what consumers see: exactly 1, 2, 3, ... */
		do
		:: dlen[s] > 0 && dt[s*DL] == 0 ->
			assert(de[s*DL] == delivered[s] + 1);
			delivered[s]++;
			j = 0;
			do
			:: j + 1 < dlen[s] -> de[s*DL+j] = de[s*DL+j+1]; dt[s*DL+j] = dt[s*DL+j+1]; j++
			:: else -> break
			od;
			dlen[s]--; de[s*DL+dlen[s]] = 0; dt[s*DL+dlen[s]] = 0
		:: else -> break
		od;
		/* committed positions never go back */
		j = 0; lastp = 0;
		do
		:: j < plen[s] ->
			if
			:: pk[s*PL+j] == POS && pt[s*PL+j] == 0 ->
				assert(pv[s*PL+j] >= lastp); lastp = pv[s*PL+j]
			:: else
			fi;
			j++
		:: else -> break
		od;
		mk[t] = mk[t] & ~(1 << s);
		if :: mk[t] == 0 -> ts[t] = NONE :: else fi;
		squash(s)
	}
}

#define BROKER(t) \
	:: atomic { ts[t] >= COMMIT && (mk[t] & 1) -> markers(t, 0) } \
	:: atomic { ts[t] >= COMMIT && (mk[t] & 2) -> markers(t, 1) } \
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
#define TAKES (!ep[TX] && ts[TX] <= OPEN)
/* A late record reaches only partitions that are in the transaction and have no marker of it
   yet. */
#define TAKESLATE(s) (AFTER && ep[TX] && ts[TX] == ABORT && (mk[TX] & (1 << (s))))

inline put(s, kind, v) {
	atomic {
		if
		:: ep[TX] -> goto dead
		:: TAKES || TAKESLATE(s) ->
			d_step {
				assert(plen[s] < PL);
				pk[s*PL+plen[s]] = kind; pv[s*PL+plen[s]] = v; pt[s*PL+plen[s]] = TX+1; plen[s]++;
				if
				:: kind == CLAIM -> c[me*NS+s] = plen[s]; w[me*NS+s] = plen[s]
				:: kind == BAR -> w[me*NS+s] = plen[s]
				:: else
				fi;
				if :: ts[TX] <= OPEN -> mk[TX] = mk[TX] | (1 << s); ts[TX] = OPEN :: else fi
			}
		:: DIES -> goto dead
		fi
	}
}
inline data(s, e1) {
	atomic {
		if
		:: ep[TX] -> goto dead
		:: TAKES || TAKESLATE(s) ->
			d_step {
				assert(dlen[s] < DL);
				de[s*DL+dlen[s]] = e1; dt[s*DL+dlen[s]] = TX+1; dlen[s]++;
				if :: ts[TX] <= OPEN -> mk[TX] = mk[TX] | (1 << s); ts[TX] = OPEN :: else fi
			}
		:: DIES -> goto dead
		fi
	}
}
#ifdef HOLD
#define MAYCOMMIT (!ep[TX] && ts[TX] == OPEN && ts[me*2+1-turn] == NONE)
#else
#define MAYCOMMIT (!ep[TX] && ts[TX] == OPEN)
#endif
inline commit() {
	atomic {
		if
		:: ep[TX] -> goto dead
		:: MAYCOMMIT -> ts[TX] = COMMIT; turn = 1 - turn
		:: !ep[TX] && ts[TX] != OPEN    /* nothing to commit */
#ifdef MORTAL
		:: me < 2 && ts[TX] == OPEN -> fin[me] = 2; goto late
#endif
		:: DIES -> goto dead
		fi
	}
}

#define WAITS(s) (cl & (1 << s))
#define READABLE(s) (w[me*NS+s] && w[me*NS+s] <= lso[s])

/* Fencing, as in lanes.pml. */
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
#if defined(TURN)
#define COMMITTING(t) \
	:: atomic { ts[t] == COMMIT && !(fen & BIT(t)) && (fen & BIT((t)^1)) -> fen = fen | BIT(t) }
#elif defined(M_TURNFIRST)
#define COMMITTING(t) \
	:: atomic { ts[t] == COMMIT && !((fen | seen) & BIT(t)) -> seen = seen | BIT(t) }
#else
#define COMMITTING(t)
#endif
inline fence(l) {
	do
	:: atomic { FENCED(l) -> break }
	:: atomic { !FENCED(l) && CANLOOK(l*2) -> look(l*2) }
	:: atomic { !FENCED(l) && CANLOOK(l*2+1) -> look(l*2+1) }
	COMMITTING(l*2)
	COMMITTING(l*2+1)
	:: DIES -> goto dead
	od
}
#if defined(IDSALL)
#define BEFORE(s) (lso[s] < w[me*NS+s] - 1)
#else
#define BEFORE(s) (lso[s] < c[me*NS+s] - 1)
#endif
#define STAND(s) (pt[(s)*PL+lso[s]] - 1)
#define STANDS(s) (c[me*NS+s] && w[me*NS+s] > lso[s] && lso[s] < plen[s] && pt[(s)*PL+lso[s]] \
	&& BEFORE(s) && (STAND(s) >> 1) != me)
#if defined(NOIDS)
#define BYIDS(s)
#else
#define BYIDS(s) \
	:: atomic { WAITS(s) && !READABLE(s) && STANDS(s) && !(fen & BIT(STAND(s))) && \
		(ts[STAND(s)] == OPEN || ts[STAND(s)] == ABORT) -> e = STAND(s); look(e); e = 0 }
#endif

/* What the first e records of shard s say: todo := lanes with a live claim before the offset own,
   pos := the position. */
inline fold(s, e, own) {
	d_step {
		todo[s] = 0; pos[s] = 0; j = 0;
		do
		:: j < e ->
			if
			:: pk[s*PL+j] == CLAIM ->
				if
				:: pv[s*PL+j] != me && j < own -> todo[s] = todo[s] | (1 << pv[s*PL+j])
				:: else
				fi
			:: pk[s*PL+j] == TOMB -> todo[s] = todo[s] & ~(1 << pv[s*PL+j])
			:: pk[s*PL+j] == POS -> pos[s] = pv[s*PL+j]
			:: else
			fi;
			j++
		:: else -> break
		od;
		j = 0
	}
}
inline choose(s, lo) {
	e = lo;
	do
	:: e < lso[s] -> e++
	:: break
	od
}

/* An entry of a shard that the lane owns, or none. */
inline entries(s) {
	if
	:: atomic { (own & (1 << s)) && pos[s] < NE -> skip };
		data(s, pos[s]+1); put(s, POS, pos[s]+1); pos[s]++
	:: skip
	fi
}
inline release(s) {
	if
	:: atomic { RELEASE && (own & (1 << s)) && MAYRELEASE(s) -> rel = rel | (1 << s) };
		put(s, TOMB, me)
	:: skip
	fi
}
/* After the claim. */
inline read1(s) {
	do
	:: atomic { WAITS(s) && READABLE(s) ->
		choose(s, w[me*NS+s]); fold(s, e, w[me*NS+s]-1); e = 0; break }
	BYIDS(s)
	:: atomic { WAITS(s) && DIES -> goto dead }
	:: atomic { !WAITS(s) -> break }
	od
}
/* After the barrier. */
inline read2(s) {
	do
	:: atomic { WAITS(s) && todo[s] && READABLE(s) ->
		choose(s, w[me*NS+s]); fold(s, e, 0); e = 0; todo[s] = 0; break }
	BYIDS(s)
	:: atomic { WAITS(s) && todo[s] && DIES -> goto dead }
	:: atomic { !(WAITS(s) && todo[s]) -> break }
	od
}
inline withdraw(s) {
	if
	:: todo[s] != 0 ->
		x = 0;
		do
		:: atomic { x < NL && (todo[s] & (1 << x)) -> skip }; put(s, TOMB, x); x++
		:: atomic { x < NL && !(todo[s] & (1 << x)) -> x++ }
		:: atomic { x == NL -> x = 0; break }
		od;
		put(s, BAR, me)
	:: else
	fi
}

proctype Lane(byte me) {
	byte turn, e, x, bel, own, cl, fen, rel;
	byte pos[2]; byte todo[2];
#ifdef M_TURNFIRST
	byte seen;
#endif
#ifdef MOVE
	bit more = 1;
#endif

#if defined(LINGER)
end_wait: me < 2 || fin[me-2] == 2;
	bel = 1 << (me & 1);
#elif defined(MOVE)
	if
	:: me == 0 -> bel = 3
	:: me == 1 ->
end_move:	atomic { away -> fin[1] = 0; bel = 1 }
	:: me > 1 -> bel = 1
	fi;
#else
	if :: bel = 1 :: bel = 2 :: bel = 3 fi;
#endif
	do
	:: atomic { (bel & ~own) != 0 ->
		/* which of them together */
		if
		:: cl = bel & ~own
		:: (bel & ~own) == 3 -> cl = 1
		:: (bel & ~own) == 3 -> cl = 2
		fi };
		/* 1. claim */
		entries(0); entries(1);
		if :: cl & 1 -> put(0, CLAIM, me) :: else fi;
		if :: cl & 2 -> put(1, CLAIM, me) :: else fi;
		commit();
		/* 2. read */
		read1(0); read1(1);
		/* 3. fence */
		x = 0;
		do
		:: atomic { x < NL && ((todo[0] | todo[1]) & (1 << x)) -> skip }; fence(x); x++
		:: atomic { x < NL && !((todo[0] | todo[1]) & (1 << x)) -> x++ }
		:: atomic { x == NL -> x = 0; break }
		od;
		if
		:: todo[0] || todo[1] ->
			/* 4. barrier */
			withdraw(0);
#ifdef M_ONEBARRIER
			if :: todo[0] -> todo[1] = 0 :: else -> withdraw(1) fi;
#else
			withdraw(1);
#endif
			commit();
			/* 5. read */
			read2(0); read2(1)
		:: else
		fi;
		atomic {
			if :: cl & 1 -> c[me*NS] = 0; w[me*NS] = 0 :: else fi;
			if :: cl & 2 -> c[me*NS+1] = 0; w[me*NS+1] = 0 :: else fi;
			own = own | cl; cl = 0;
			d_step { squash(0); squash(1) }
		}
	:: atomic { own != 0 && (((own & 1) && pos[0] < NE) || ((own & 2) && pos[1] < NE)) -> skip };
		entries(0); entries(1); release(0); release(1);
		commit();
#ifdef MOVE
		atomic {
			own = own & ~rel; bel = bel & ~rel;
			if :: rel -> more = 0; away = (me == 0); pos[0] = 0 :: else fi;
			rel = 0
		}
	:: atomic { me == 0 && !more && !away && bel == 2 -> bel = 3 }    /* it is back */
#else
		atomic { own = own & ~rel; bel = bel & ~rel; rel = 0 }
#endif
	:: atomic { ((bel & ~own) == 0 && MAYEND &&
		(!(own & 1) || pos[0] == NE) && (!(own & 2) || pos[1] == NE)) -> break }
	od;
	atomic { fin[me] = 1; owns[me] = own; goto over };
#ifdef MORTAL
late:	/* dead, and what it has sent may still arrive */
	if
	:: atomic { !ep[TX] -> ts[TX] = COMMIT }
	:: skip
	fi;
#endif
dead:
	atomic { fin[me] = 2; c[me*NS] = 0; w[me*NS] = 0; c[me*NS+1] = 0; w[me*NS+1] = 0 };
over:
	atomic { turn = 0; e = 0; x = 0; bel = 0; own = 0; cl = 0; fen = 0; rel = 0;
#ifdef M_TURNFIRST
		seen = 0;
#endif
		pos[0] = 0; pos[1] = 0; todo[0] = 0; todo[1] = 0; d_step { squash(0); squash(1) } }
}

/* At the end nothing is open, every lane has come to an end, and what a lane still owns has
   been delivered. */
proctype Monitor() {
	timeout;
	d_step {
		i = 0; k = 0;
		do
		:: i < NL ->
#ifdef LINGER
			assert(fin[i] != 0 || (i >= 2 && fin[i-2] != 2));
#else
			assert(fin[i] != 0);
#endif
#if defined(MOVE) && NL == 2 && !CR && !TIMEOUT
			assert(fin[i] != 2);
#endif
			if :: fin[i] == 1 -> k = k | owns[i] :: else fi;
			i++
		:: else -> break
		od;
		i = 0;
		do :: i < NT -> assert(ts[i] == NONE); i++ :: else -> break od;
		assert(dlen[0] == 0 && dlen[1] == 0);
		assert(!(k & 1) || delivered[0] == NE);
		assert(!(k & 2) || delivered[1] == NE);
#if defined(LINGER) || (defined(MOVE) && NL == 2 && !CR && !TIMEOUT)
		assert(delivered[0] == NE && delivered[1] == NE);
#endif
		i = 0; k = 0
	}
}

init {
	atomic {
#ifdef LINGER
		pk[0] = CLAIM; pv[0] = 1; plen[0] = 1; lso[0] = 1;
		pk[PL] = CLAIM; pv[PL] = 0; plen[1] = 1; lso[1] = 1;
#endif
#ifdef MOVE
		fin[1] = 3;
#endif
		run Broker();
		i = 0;
		do :: i < NL -> run Lane(i); i++ :: else -> i = 0; break od;
		run Monitor()
	}
}
