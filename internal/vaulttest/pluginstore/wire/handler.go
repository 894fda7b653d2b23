package wire

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/vouchsafe/vouchsafe/store"
)

// Handler serves stores. Open makes the store of a name, when it is first asked for.
func Handler(open func(name string) store.Store) http.Handler {
	h := &handler{open: open, stores: map[string]store.Store{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{store}/{operation}", h.serve)
	return mux
}

type handler struct {
	open func(name string) store.Store

	mu     sync.Mutex
	stores map[string]store.Store
}

func (h *handler) store(name string) store.Store {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.stores[name]
	if !ok {
		s = h.open(name)
		h.stores[name] = s
	}
	return s
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	var q request
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s := h.store(r.PathValue("store"))
	var a answer
	var err error
	switch r.PathValue("operation") {
	case get:
		var record store.Record
		record, err = s.Get(r.Context(), q.Key)
		a.Record = &record
	case list:
		a.Entries, err = s.List(r.Context(), q.Prefix, q.After, q.Limit)
	case apply:
		err = s.Apply(r.Context(), q.Writes...)
	case watch:
		var events <-chan store.Event
		if events, err = s.Watch(r.Context(), q.Prefix); err == nil {
			send(w, events)
			return
		}
	default:
		http.NotFound(w, r)
		return
	}
	a.Failure = failed(err)
	_ = json.NewEncoder(w).Encode(a) // who is gone needs no answer
}

// send sends events until there are no more or nobody takes them; then the request's context ends, and the events with it.
func send(w http.ResponseWriter, events <-chan store.Event) {
	flush := http.NewResponseController(w)
	encoder := json.NewEncoder(w)
	if encoder.Encode(answer{}) != nil || flush.Flush() != nil {
		return
	}
	for e := range events {
		if encoder.Encode(answer{Event: &e}) != nil || flush.Flush() != nil {
			return
		}
	}
}
