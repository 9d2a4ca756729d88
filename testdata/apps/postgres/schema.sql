CREATE TABLE planets (name text PRIMARY KEY, moons integer NOT NULL);
INSERT INTO planets VALUES ('Earth', 1), ('Mars', 2), ('Neptune', 16);
