package policy

import rego.v1

default texts := 0

texts := 1 if {
	concat("-", ["a", "b"]) == "a-b"
	replace("aba", "a", "c") == "cbc"
	split("a/b/c", "/") == ["a", "b", "c"]
	sprintf("%s %d %v", ["x", 3, [1]]) == "x 3 [1]"
	upper(trim_space(" ab ")) == "AB"
	regex.replace("a1b2", "[0-9]", "#") == "a#b#"
	contains("abc", "b")
	glob.match("*.example", ["."], "a.example")
}

default arithmetic := 0

arithmetic := 1 if {
	(2 * 3) + (10 - 4) == 12
	sum([1, 2, 3]) == 6
	max([1, 9, 3]) == 9
	round(2.6) == 3
	numbers.range(1, 3) == [1, 2, 3]
	bits.and(6, 3) == 2
	to_number("0042.5") == 42.5
	7 % 4 == 3
}

default collections := 0

collections := 1 if {
	{1, 2} | {3} == {1, 2, 3}
	{1, 2} & {2, 3} == {2}
	{1, 2} - {2} == {1}
	object.union({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
	object.subset({"a": 1, "b": 2}, {"a": 1})
	array.concat([1], [2]) == [1, 2]
	"b" in ["a", "b"]
	"k", "v" in {"k": "v"}
	not 4 in {1, 2}
	sort([3, 1]) == [1, 3]
	[1, 2] != [2, 1]
}

default encodings := 0

encodings := 1 if {
	base64.decode(base64.encode("abc")) == "abc"
	hex.encode("a") == "61"
	json.unmarshal(json.marshal({"a": [1]})) == {"a": [1]}
	crypto.sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	semver.compare("1.2.0", "1.10.0") == -1
}

default times := 0

times := 1 if {
	time.now_ns() == 1767323045000000000
	time.clock(time.now_ns()) == [3, 4, 5]
	time.add_date(time.now_ns(), 0, 0, 1) > time.now_ns()
}

trust_claims := {
	"texts": texts,
	"arithmetic": arithmetic,
	"collections": collections,
	"encodings": encodings,
	"times": times,
}
