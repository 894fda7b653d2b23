-- What the service may read, as a role without a login.
CREATE TABLE payments (id integer PRIMARY KEY, amount numeric NOT NULL);
INSERT INTO payments VALUES (1, 100), (2, 250.50);
CREATE ROLE payments;
GRANT SELECT ON payments TO payments;

-- Whom Vault makes accounts as: it may end their sessions, too.
CREATE ROLE vault LOGIN CREATEROLE PASSWORD :'password';
GRANT payments TO vault WITH ADMIN OPTION;
GRANT pg_signal_backend TO vault;
