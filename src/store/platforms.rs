//! Names that stand for several images, one a platform.

use rusqlite::{Connection, Transaction};

use super::images::{point, put};
use super::{Error, ImageRow, Store};
use crate::oci::{ImageId, Platform, Reference};

impl Store {
    /// Stores one image for each platform and points `names` to all of them;
    /// `preferred` is the one that they stand for where nobody asks for a
    /// platform. In one transaction. Returns for each name the image that had
    /// it before.
    pub fn image_put_platforms(
        &self,
        images: &[(Platform, ImageRow)],
        preferred: ImageId,
        names: &[Reference],
    ) -> Result<Vec<Option<ImageId>>, Error> {
        let wanted: Vec<(String, ImageId)> = images
            .iter()
            .map(|(platform, row)| (platform.to_string(), row.id))
            .collect();
        self.write(|tx| {
            for (_, row) in images {
                put(tx, row)?;
            }
            let mut before = Vec::with_capacity(names.len());
            for name in names {
                before.push(point(tx, name, preferred)?);
                set(tx, name, &wanted)?;
            }
            Ok(before)
        })
    }

    /// The images that a name stands for, by platform, in their order; empty
    /// for a name of one image.
    pub fn name_platforms(&self, name: &Reference) -> Result<Vec<(Platform, ImageId)>, Error> {
        Ok(get(&self.db(), name)?
            .into_iter()
            // We wrote it from a platform; a damaged one is nobody's.
            .filter_map(|(platform, id)| Some((platform.parse().ok()?, id)))
            .collect())
    }

    /// Every image that some name stands for on some platform, with that name.
    pub fn platform_list(&self) -> Result<Vec<(Reference, ImageId)>, Error> {
        let db = self.db();
        let mut statement =
            db.prepare_cached("SELECT DISTINCT name, image FROM platforms ORDER BY name")?;
        let mut rows = statement.query([])?;
        let mut names = Vec::new();
        while let Some(row) = rows.next()? {
            if let Ok(name) = row.get::<_, String>(0)?.parse() {
                names.push((name, row.get(1)?));
            }
        }
        Ok(names)
    }

    /// Makes a name stand for these images, and for `preferred` where nobody asks
    /// for a platform.
    pub fn name_set_platforms(
        &self,
        name: &Reference,
        preferred: ImageId,
        images: &[(Platform, ImageId)],
    ) -> Result<(), Error> {
        let images = images.iter();
        let wanted: Vec<(String, ImageId)> = images
            .map(|(platform, id)| (platform.to_string(), *id))
            .collect();
        self.write(|tx| {
            point(tx, name, preferred)?;
            set(tx, name, &wanted)
        })
    }

    /// Makes `to` stand for everything that `from` stands for.
    pub fn name_copy(&self, from: &Reference, to: &Reference, id: ImageId) -> Result<(), Error> {
        self.write(|tx| {
            let platforms = get(tx, from)?;
            point(tx, to, id)?;
            set(tx, to, &platforms)
        })
    }
}

fn get(db: &Connection, name: &Reference) -> Result<Vec<(String, ImageId)>, Error> {
    let mut statement =
        db.prepare_cached("SELECT platform, image FROM platforms WHERE name = ?1 ORDER BY place")?;
    let rows = statement.query_map([name.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn set(
    tx: &Transaction<'_>,
    name: &Reference,
    platforms: &[(String, ImageId)],
) -> Result<(), Error> {
    let name = name.to_string();
    tx.prepare_cached("DELETE FROM platforms WHERE name = ?1")?
        .execute([&name])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO platforms (name, place, platform, image) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (place, (platform, image)) in (0_i64..).zip(platforms) {
        insert.execute((&name, place, platform, image))?;
    }
    Ok(())
}
