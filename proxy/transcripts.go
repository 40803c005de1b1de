package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	e.register = register.New(e.state, e.keys.Sign, e.config.Transcripts.Place, e.now)
	sealed, err := e.dir.Recover()
	if err != nil {
		return err
	}
	if n := len(sealed); n > 0 {
		e.log.Warn().Int("transcripts", n).Msg("sealed what a crash had left")
	}
	if err := e.enter(ctx, sealed); err != nil {
		return err
	}
	open, err := e.register.Open(ctx)
	if err != nil {
		return err
	}
	for _, session := range open {
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
			return fmt.Errorf("the transcript of session %s: %w", session, err)
		default:
			if err := e.register.Add(ctx, register.End, session, head); err != nil {
				return err
			}
		}
	}
	return nil
}

// enter enters the sessions that the register does not know: those whose
// journal was there and no entry yet when the crash came, and all where the
// register is new.
func (e *Engine) enter(ctx context.Context, sealed []string) error {
	known, err := e.register.Known(ctx)
	if err != nil {
		return err
	}
	if len(known) == 0 {
		if sealed, err = e.archive.Sessions(ctx); err != nil {
			return err
		}
	}
	for _, session := range sealed {
		if known[session] {
			continue
		}
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
	for _, session := range old {
		// The register last: what a crash leaves in between is removed anew.
		if err == nil {
			err = e.archive.Remove(ctx, session)
		}
		if err == nil {
			err = e.register.Add(ctx, register.Removed, session, replay.Head{})
		}
	}
	if err != nil && ctx.Err() == nil {
		e.log.Error().Err(err).Msg("removing transcripts whose time is over")
	} else if len(old) > 0 {
		e.log.Info().Int("transcripts", len(old)).Dur("after", after).Msg("removed transcripts whose time is over")
	}
}
