package jsonscan

import (
	"encoding/binary"
	"strings"
)

// fourZeros is how a run of zeros begins: the text 0,0,0,0, as a number.
const fourZeros = 0x2c302c302c302c30

// manyZeros is the text of so many zeros: whole areas of a report or certificate are not used.
var manyZeros = strings.Repeat("0,", 64)

// plainOctets reads integers as octets does, as long as each is spelled as it must be and has a comma right behind it, and leaves
// what is not, or does not fit, for others to judge. It returns how many there were.
func (s *Scanner) plainOctets(dst []byte) (n int) {
	data := s.data[s.pos:]
	start := len(data)
	for n < len(dst) && len(data) >= 8 {
		next := binary.LittleEndian.Uint64(data)
		first, second, third := byte(next)-'0', byte(next>>8)-'0', byte(next>>16)-'0'
		switch {
		case next == fourZeros && len(dst)-n >= len(manyZeros)/2 && len(data) >= len(manyZeros) && string(data[:len(manyZeros)]) == manyZeros:
			clear(dst[n:][:len(manyZeros)/2])
			data = data[len(manyZeros):]
			n += len(manyZeros) / 2
		case next == fourZeros && len(dst)-n >= 4:
			clear(dst[n:][:4])
			data = data[8:]
			n += 4
		case first <= 9 && byte(next>>8) == ',':
			dst[n] = first
			data = data[2:]
			n++
		case first-1 <= 8 && second <= 9 && byte(next>>16) == ',':
			dst[n] = 10*first + second
			data = data[3:]
			n++
		case first-1 <= 1 && second <= 9 && third <= 9 && byte(next>>24) == ',' && (first == 1 || 10*second+third <= 55):
			dst[n] = 100*first + 10*second + third
			data = data[4:]
			n++
		default:
			s.pos += start - len(data)
			return n
		}
	}
	s.pos += start - len(data)
	return n
}

// octet reads an integer from 0 to 255. Up to three digits with something else after them are read here; whatever else there is, is for Uint to
// read or to say what is wrong with.
func (s *Scanner) octet() byte {
	if s.Peek() == 0 || len(s.data)-s.pos < 4 {
		return byte(s.Uint(0xff))
	}
	text := s.data[s.pos:][:4]
	first, second, third := uint(text[0]-'0'), uint(text[1]-'0'), uint(text[2]-'0')
	value, digits := first, 1
	switch {
	case first > 9 || first == 0 && second <= 9:
		digits = 0
	case second <= 9 && third <= 9:
		value, digits = 100*first+10*second+third, 3
	case second <= 9:
		value, digits = 10*first+second, 2
	}
	if after := text[digits]; digits == 0 || value > 0xff || after != ',' && after != ']' && after > ' ' {
		return byte(s.Uint(0xff))
	}
	s.pos += digits
	return byte(value)
}
