package api

import (
	"net/http"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

// replay answers with lines: how far it is, as long as it runs, and then the report. What fails before the first of them has its status; what fails
// later is the last line.
func (a *API) replay(c *call) error {
	var in wire.Replay
	if err := wire.Decode(c.r, c.body, &in); err != nil {
		return invalid(err)
	}
	w := &stream{w: c.w, control: http.NewResponseController(c.w), media: wire.ReplayPolicy.Media}
	line := func(l wire.ReplayLine) error {
		text, err := encode(l)
		if err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		return w.control.Flush()
	}
	report, err := a.broker.Replay(c.r.Context(), c.who, a.namespace, broker.Replay{
		Filename: in.Filename, Source: []byte(in.Source), Since: in.Since, Until: in.Until,
	}, func(p broker.ReplayProgress) {
		_ = line(wire.ReplayLine{Progress: &p}) // who does not read them gets no report either
	})
	switch {
	case err == nil:
		_ = line(wire.ReplayLine{Report: report}) // the peer may be gone
		return nil
	case !w.begun:
		return err
	}
	f := asFailure(err)
	a.logger.WarnContext(c.r.Context(), "a replay broke off", "code", f.answer.Code, "cause", err)
	_ = line(wire.ReplayLine{Error: &f.answer})
	return nil
}
