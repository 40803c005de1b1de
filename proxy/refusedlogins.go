package proxy

import (
	"context"
	"time"
)

// refusalsEvery is how often refused logins are written down.
const refusalsEvery = time.Second

// keepRefusals writes refused logins down until ctx ends.
func (e *Engine) keepRefusals(ctx context.Context) {
	tick := time.NewTicker(refusalsEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := e.refusals.Flush(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			e.log.Error().Err(err).Msg("refused logins wait to be written down")
		}
		failing = err != nil
	}
}
