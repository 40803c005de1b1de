package proxy

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/sallyport-proxy/sallyport/proxy/register"
	"github.com/sallyport-proxy/sallyport/replay"
	"github.com/sallyport-proxy/sallyport/replay/archive"
)

// Archive opens the place of the configuration's transcripts. The caller
// closes it.
func (c *Config) Archive(ctx context.Context) (*archive.Archive, error) {
	return archive.Open(ctx, c.Transcripts.Place, c.Transcripts.Dir)
}

// Registered is where the register of sessions says that transcripts are: it
// may be shared with other proxies, each with its own folder or spool.
func (c *Config) Registered() (register.Place, error) {
	t := &c.Transcripts
	if strings.HasPrefix(t.Place, "file:") {
		return register.Place{Store: "file:" + t.Dir}, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return register.Place{}, fmt.Errorf("this machine's name, which tells the spools of proxies apart: %w", err)
	}
	return register.Place{Store: t.Place, Spool: host + ":" + t.Dir}, nil
}

func (e *Engine) openTranscripts() error {
	t := &e.config.Transcripts
	opt := replay.Options{Key: e.keys.Sign, Now: e.now, Recipients: t.Recipients, PartSize: t.PartSize, Finished: e.wakeKeeper}
	var err error
	if e.dir, err = replay.OpenDir(t.Dir, opt); err != nil {
		return err
	}
	e.archive, err = e.config.Archive(context.Background())
	return err
}

// recover seals what a crash has left, and enters the ends of the sessions
// that it ended into the register.
func (e *Engine) recover(ctx context.Context) error {
	place, err := e.config.Registered()
	if err != nil {
		return err
	}
	e.register = register.New(e.state, e.keys.Sign, place, e.now)
	sealed, err := e.dir.Recover()
	if err != nil {
		return err
	}
	if n := len(sealed); n > 0 {
		e.log.Warn().Int("transcripts", n).Msg("sealed what a crash had left")
	}
	if err := e.enter(ctx); err != nil {
		return err
	}
	open, err := e.register.Open(ctx)
	if err != nil {
		return err
	}
	for _, session := range open {
		// It is in the folder, since what has no end in the register has a
		// journal, and what has a journal is not shipped; but for a power cut
		// that took the end from the register.
		var head replay.Head
		err := e.archive.With(ctx, session, func(path string) (err error) {
			head, err = replay.ReadHead(path)
			return err
		})
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// Nothing that was forwarded was without a record, so that somebody
			// took it: verify goes on saying so.
			e.log.Error().Str("session", session).Msg("a session's transcript is MISSING")
		case err != nil:
			e.log.Error().Err(err).Str("session", session).Msg("a session's transcript cannot be read; its end is not entered")
		default:
			if err := e.register.Add(ctx, register.End, session, head); err != nil {
				return err
			}
		}
	}
	return nil
}

// enter enters the sessions of the folder that the register does not know:
// the crash came before their entry, or a power cut took it, or the register
// is new. What this proxy has not signed is not entered, and verify says so.
func (e *Engine) enter(ctx context.Context) error {
	known, err := e.register.Known(ctx)
	if err != nil {
		return err
	}
	files, err := replay.Files(e.config.Transcripts.Dir)
	if err != nil {
		return err
	}
	for _, path := range files {
		session := replay.SessionOf(path)
		if known[session] {
			continue
		}
		r, err := replay.Verify(path, e.keys.Sign.Public().(ed25519.PublicKey), nil)
		switch {
		case err != nil:
			return fmt.Errorf("session %s: %w", session, err)
		case !r.OK():
			e.log.Error().Str("session", session).Str("finding", r.Findings[0].String()).Msg("a transcript that the register does not know is not good, and is not entered")
			continue
		}
		e.log.Warn().Str("session", session).Msg("entered a session that the register did not know")
		if err := e.register.Add(ctx, register.Begin, session, replay.Head{}); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) wakeKeeper() {
	select {
	case e.finished <- struct{}{}:
	default: // it will look anyway
	}
}

// How often the keeper looks without being woken.
const (
	shipAgain   = 15 * time.Second
	retainAgain = time.Hour
)

// startKeeping runs keep until ctx ends, or what it returns is called, which
// waits for it.
func (e *Engine) startKeeping(ctx context.Context) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.keep(ctx)
	}()
	return func() { stop(); <-ended }
}

// keep ships transcripts to their bucket and removes those whose time is
// over, until ctx ends.
func (e *Engine) keep(ctx context.Context) {
	if err := e.archive.Reach(ctx); err != nil {
		e.log.Error().Err(err).Msg("the bucket of transcripts cannot be reached; they stay in the spool meanwhile")
	}
	ship, retain := time.NewTicker(shipAgain), time.NewTicker(retainAgain)
	defer ship.Stop()
	defer retain.Stop()
	e.ship(ctx)
	e.retain(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.finished:
			e.ship(ctx)
		case <-ship.C:
			e.ship(ctx)
		case <-retain.C:
			e.retain(ctx)
		}
	}
}

func (e *Engine) ship(ctx context.Context) {
	ended, err := e.archive.Ship(ctx)
	if ended > 0 {
		e.log.Info().Int("transcripts", ended).Msg("shipped transcripts to the bucket")
	}
	if err != nil && ctx.Err() == nil {
		e.metrics.unshipped.Inc()
		e.log.Error().Err(err).Msg("transcripts were not shipped; they stay in the spool, and it is tried again")
	}
}

// shipLast ships what the last sessions have left.
func (e *Engine) shipLast() {
	ctx, cancel := context.WithTimeout(context.Background(), e.config.Drain)
	defer cancel()
	e.ship(ctx)
	if err := e.archive.Close(); err != nil {
		e.log.Error().Err(err).Msg("closing the bucket of transcripts")
	}
}

// retain removes the transcripts that have been kept for as long as the
// configuration says. The register says of each that it was.
func (e *Engine) retain(ctx context.Context) {
	after := e.config.Transcripts.Retain
	if after <= 0 {
		return
	}
	old, err := e.register.EndedBefore(ctx, e.now().Add(-after))
	removed := 0
	for session, own := range old {
		was, rerr := e.archive.Remove(ctx, session)
		if errors.Is(rerr, archive.ErrKept) || rerr == nil && !was && !own {
			continue // not shipped yet, by us or by another proxy
		}
		// The register last: what a crash leaves in between is removed anew. What
		// is nowhere was removed before the crash, or is missing, and verify has
		// said so for all the time that it was to be kept.
		if rerr == nil {
			rerr = e.register.Add(ctx, register.Removed, session, replay.Head{})
		}
		if was && rerr == nil {
			removed++
		}
		err = errors.Join(err, rerr)
	}
	if err != nil && ctx.Err() == nil {
		e.log.Error().Err(err).Msg("removing transcripts whose time is over")
	}
	if removed > 0 {
		e.log.Info().Int("transcripts", removed).Dur("after", after).Msg("removed transcripts whose time is over")
	}
}
