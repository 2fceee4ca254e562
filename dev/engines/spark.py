"""Spark in this process, whose catalog `lake` is a REST catalog."""

import os
import pathlib
import sys


class Spark:
    def __init__(self, home: pathlib.Path, java: pathlib.Path, folder: pathlib.Path, catalog: str) -> None:
        (jar,) = home.glob("iceberg-spark-runtime-*.jar")
        settings = {
            "spark.master": "local[2]",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.jars": str(jar),
            "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.catalog.lake.type": "rest",
            "spark.sql.catalog.lake.uri": catalog,
            # Else a table is read as it was half a minute ago.
            "spark.sql.catalog.lake.cache-enabled": "false",
            "spark.ui.showConsoleProgress": "false",
        }
        os.environ |= {"JAVA_HOME": str(java.parent.parent), "SPARK_HOME": str(home / "pyspark"), "SPARK_LOCAL_IP": "127.0.0.1"}
        os.environ["PYSPARK_PYTHON"] = sys.executable
        sys.path.insert(0, str(home))
        from pyspark.sql import SparkSession

        builder = SparkSession.builder
        for key, value in settings.items():
            builder = builder.config(key, value)
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")

    def sql(self, statements: str) -> list[list[str]]:
        """The rows of all statements, as text."""
        rows = []
        for statement in filter(str.strip, statements.split(";")):
            found = self.session.sql(statement).collect()
            rows += [["" if value is None else str(value) for value in row] for row in found]
        return rows

    def stop(self) -> None:
        self.session.stop()
